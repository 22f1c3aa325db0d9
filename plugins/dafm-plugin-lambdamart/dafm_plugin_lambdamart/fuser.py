"""LambdaMART over the candidates of a query: trees that correct a plain mean of z-scores.

What is learned is LightGBM's own model text, a string that goes into the JSON of a saved fuser;
nothing is pickled. The channels, and which candidates to learn from, are core's, so that the trees
are compared with LightFusion on the same inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import FuserError, OptionError
from dafm_core.fusion.base import Fuser, Kind, Tile, TileScorer
from dafm_core.fusion.channels.bank import QueryBank, bank_from_state, bank_state
from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.channels.inputs import DEFAULT_INPUTS, Inputs, parse_families, training_bank

if TYPE_CHECKING:
    import lightgbm

    from dafm_core.datasets.base import Dataset
    from dafm_core.store.stack import SimilarityStack

N_DECIMALS: Final = 3
"""Of a channel, in standard deviations of its row."""


class LambdaMartFusion(Fuser):
    """Fuse by gradient-boosted trees with the LambdaRank objective (LightGBM).

    The trees see a candidate's channels and their mean, start from that mean, and learn from hard
    and from random candidates: on hard ones alone they would never see the tail that they rank
    later. Scores are of the whole gallery. Where the training queries were not scored against
    every candidate, columns are left as they are.

    Parameters
    ----------
    inputs : str
        Channels, comma-separated, as ``dafm_core.fusion.channels.inputs.FAMILIES`` names them.
    n_trees, n_leaves : int
    learning_rate : float
    min_leaf : int
        Candidates in a leaf, at least.
    n_hard, n_random : int
        Candidates per training query: the best of each provider and of their mean, and others.
    monotone : bool
        Whether a higher score may only raise a candidate.
    seed : int
        Of the random candidates and of LightGBM.

    References
    ----------
    Burges, From RankNet to LambdaRank to LambdaMART, MSR-TR-2010-82; Ke et al., LightGBM, NeurIPS
    2017. Trees start from the mean instead of zero, so that candidates in one leaf are not tied.
    """

    kind: ClassVar[Kind] = "learned"
    learns: ClassVar[bool] = True

    model_text_: str
    bank_: QueryBank | None

    def __init__(
        self,
        *,
        inputs: str = DEFAULT_INPUTS,
        n_trees: int = 100,
        n_leaves: int = 15,
        learning_rate: float = 0.1,
        min_leaf: int = 100,
        n_hard: int = 30,
        n_random: int = 100,
        monotone: bool = True,
        seed: int = 0,
    ) -> None:
        self.inputs = inputs
        self.n_trees = n_trees
        self.n_leaves = n_leaves
        self.learning_rate = learning_rate
        self.min_leaf = min_leaf
        self.n_hard = n_hard
        self.n_random = n_random
        self.monotone = monotone
        self.seed = seed

    def _fit(self, stack: SimilarityStack, dataset: Dataset) -> None:
        import lightgbm

        self._check_options()
        self.bank_ = training_bank(stack, self._families(), self.bank_queries)
        examples = make_examples(
            stack,
            dataset,
            self._families(),
            n_hard=self.n_hard,
            n_uniform=self.n_random,
            seed=self.seed,
            bank=self.bank_ if self.bank_queries else None,
        )
        drawn = np.isfinite(examples.log_weight)  # (E, W)
        features, start = _features(examples.channels)
        labels = np.arange(drawn.shape[1]) == examples.target[:, None]
        data = lightgbm.Dataset(
            features[drawn],
            labels[drawn].astype(np.int32),
            group=drawn.sum(axis=1),
            init_score=start[drawn],
        )
        settings = self._settings(n_features=features.shape[2])
        booster = lightgbm.train(settings, data, num_boost_round=self.n_trees)
        self.model_text_ = booster.model_to_string()

    def scorer(self, stack: SimilarityStack) -> TileScorer:
        """Return the trees over this stack's gallery."""
        booster = _load(self.model_text_)
        known = self.bank_ is not None and self.bank_.covers(stack)
        inputs = Inputs.of(stack, self._families(), self.bank_ if known else None)

        def score(tile: Tile) -> NDArray[np.float32]:
            features, start = _features(inputs.channels(tile))
            kept = np.isfinite(tile[:, 0])
            fused = np.full(start.shape, -np.inf, np.float32)
            if kept.any():
                correction: Any = booster.predict(features[kept], raw_score=True)
                fused[kept] = start[kept] + correction
            return fused

        return score

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the bank as arrays, the trees as text."""
        arrays, values = bank_state(self.bank_) if self.bank_ is not None else ({}, {})
        return arrays, values | {"model_text": self.model_text_}

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Restore the bank and the trees."""
        self.bank_ = bank_from_state(arrays, values) if "bank" in values else None
        self.model_text_ = values["model_text"]

    def _families(self) -> tuple[str, ...]:
        return parse_families(self.inputs, where="lambdamart")

    def _check_options(self) -> None:
        sizes = {"n_trees": (1, 10_000), "n_leaves": (2, 10_000), "min_leaf": (1, 1_000_000)}
        sizes |= {"n_hard": (1, 500), "n_random": (1, 5_000)}  # LightGBM: 10,000 rows a query
        for name, (low, high) in sizes.items():
            if not low <= getattr(self, name) <= high:
                raise OptionError(
                    f"lambdamart: expected {name} in [{low}, {high}], got {getattr(self, name)}."
                )
        if not self.learning_rate > 0:
            raise OptionError(
                f"lambdamart: expected learning_rate above 0, got {self.learning_rate}."
            )

    def _settings(self, *, n_features: int) -> dict[str, Any]:
        return {
            "objective": "lambdarank",
            "learning_rate": self.learning_rate,
            "num_leaves": self.n_leaves,
            "min_data_in_leaf": self.min_leaf,
            "lambdarank_truncation_level": 100,
            "monotone_constraints": [1] * n_features if self.monotone else None,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }


def _features(channels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the trees see, (B, W, C + 1), and what they start from, (B, W): the mean.

    Rounded, so that the last bits of a sum, which follow the order of the gallery, choose no leaf.
    """
    channels = np.round(channels, N_DECIMALS)
    start = np.round(channels.mean(axis=1), N_DECIMALS)
    return np.concatenate([channels, start[:, None]], axis=1).transpose(0, 2, 1), start


def _load(model_text: str) -> lightgbm.Booster:
    import lightgbm

    try:
        return lightgbm.Booster(model_str=model_text)
    except lightgbm.basic.LightGBMError as error:
        raise FuserError(
            f"lambdamart: the saved trees cannot be read ({error}). Train again."
        ) from None
