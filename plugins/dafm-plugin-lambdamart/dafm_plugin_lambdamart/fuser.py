"""LambdaMART over the candidates of a query: trees that correct a plain mean of z-scores.

The channels come from ``channels.py``. What is learned is LightGBM's own model text, a string that
goes into the JSON of a saved fuser; nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import FuserError, OptionError
from dafm_core.fusion.base import Fuser, Kind, Tile, TileScorer
from dafm_core.normalize import ColumnStatistics
from dafm_plugin_lambdamart.channels import align_bank, bank_of, channels_of

if TYPE_CHECKING:
    import lightgbm

    from dafm_core.datasets.base import Dataset
    from dafm_core.ragged import Ragged
    from dafm_core.stacking import SimilarityStack


class LambdaMartFusion(Fuser):
    """Fuse by gradient-boosted trees with the LambdaRank objective (LightGBM).

    A query trains on its targets, its ``n_hard`` best candidates by the plain mean and ``n_random``
    others: on hard ones alone the trees would never see the tail that they rank later. Scores are
    the plain mean plus the trees' correction, of the whole gallery.

    Parameters
    ----------
    n_trees, n_leaves : int
    learning_rate : float
    min_leaf : int
        Candidates in a leaf, at least.
    n_hard, n_random : int
        Candidates per training query.
    seed : int
        Of the random candidates and of LightGBM.

    References
    ----------
    Burges, From RankNet to LambdaRank to LambdaMART, MSR-TR-2010-82; Ke et al., LightGBM, NeurIPS
    2017. Trees start from the mean of z-scores instead of zero, so that candidates in one leaf are
    not tied.
    """

    kind: ClassVar[Kind] = "learned"
    learns: ClassVar[bool] = True

    model_text_: str
    bank_: ColumnStatistics
    bank_ids_: tuple[str, ...]

    def __init__(
        self,
        *,
        n_trees: int = 150,
        n_leaves: int = 15,
        learning_rate: float = 0.05,
        min_leaf: int = 100,
        n_hard: int = 100,
        n_random: int = 100,
        seed: int = 0,
    ) -> None:
        self.n_trees = n_trees
        self.n_leaves = n_leaves
        self.learning_rate = learning_rate
        self.min_leaf = min_leaf
        self.n_hard = n_hard
        self.n_random = n_random
        self.seed = seed

    def _fit(self, stack: SimilarityStack, dataset: Dataset) -> None:
        import lightgbm

        self._check_options()
        self.bank_ = bank_of(tile for _, tile in stack.tiles())
        self.bank_ids_ = stack.gallery_ids
        channels, start, labels, sizes = self._draw(stack, dataset)
        data = lightgbm.Dataset(channels, labels, group=sizes, init_score=start)
        booster = lightgbm.train(self._settings(), data, num_boost_round=self.n_trees)
        self.model_text_ = booster.model_to_string()

    def scorer(self, stack: SimilarityStack) -> TileScorer:
        """Return the trees over this stack's gallery."""
        booster = _load(self.model_text_)
        bank = align_bank(self.bank_, self.bank_ids_, stack.gallery_ids)

        def score(tile: Tile) -> NDArray[np.float32]:
            channels, start = channels_of(tile, bank)
            kept = np.isfinite(start)
            fused = np.full(start.shape, -np.inf, np.float32)
            if kept.any():
                correction: Any = booster.predict(channels[kept], raw_score=True)
                fused[kept] = start[kept] + correction
            return fused

        return score

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the bank as arrays, the trees as text."""
        arrays = {"bank_mean": self.bank_.mean, "bank_std": self.bank_.std}
        return arrays, {"model_text": self.model_text_, "bank_ids": list(self.bank_ids_)}

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Restore the bank and the trees."""
        self.bank_ = ColumnStatistics(arrays["bank_mean"], arrays["bank_std"])
        self.bank_ids_ = tuple(values["bank_ids"])
        self.model_text_ = values["model_text"]

    def _check_options(self) -> None:
        for name, least in (("n_trees", 1), ("n_leaves", 2), ("min_leaf", 1)):
            if getattr(self, name) < least:
                raise OptionError(
                    f"LambdaMartFusion: expected {name} of {least} or more, got "
                    f"{getattr(self, name)}."
                )
        if self.learning_rate <= 0 or min(self.n_hard, self.n_random) < 1:
            raise OptionError(
                "LambdaMartFusion: expected learning_rate > 0 and n_hard, n_random of 1 or more, "
                f"got {self.learning_rate}, {self.n_hard}, {self.n_random}."
            )

    def _settings(self) -> dict[str, Any]:
        return {
            "objective": "lambdarank",
            "learning_rate": self.learning_rate,
            "num_leaves": self.n_leaves,
            "min_data_in_leaf": self.min_leaf,
            "lambdarank_truncation_level": self.n_hard,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }

    def _draw(self, stack: SimilarityStack, dataset: Dataset) -> tuple[NDArray[Any], ...]:
        """Return channels (rows, C), starts, labels (rows,) and rows per query, for training."""
        columns = {image_id: column for column, image_id in enumerate(stack.gallery_ids)}
        given = np.array([columns[image_id] for image_id in dataset.gallery_ids], dtype=np.int64)
        targets = dataset.targets.relabel(given)
        rng = np.random.default_rng(self.seed)
        parts: list[tuple[NDArray[Any], ...]] = []
        for rows, tile in stack.tiles():
            channels, start = channels_of(tile, self.bank_)
            for own, base, target in zip(channels, start, _part(targets, rows), strict=True):
                chosen = self._choose(base, target, rng)
                parts.append((own[chosen], base[chosen], np.isin(chosen, target)))
        sizes = np.array([len(labels) for _, _, labels in parts])
        drawn = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return drawn[0], drawn[1], drawn[2].astype(np.int32), sizes

    def _choose(
        self, start: NDArray[np.float32], target: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return the candidates that one query trains on: targets, hard ones, random ones."""
        kept = np.flatnonzero(np.isfinite(start))
        ranked = kept[np.argsort(-start[kept], kind="stable")]
        hard, rest = ranked[: self.n_hard], ranked[self.n_hard :]
        others = rng.choice(rest, min(self.n_random, len(rest)), replace=False)
        return np.union1d(np.concatenate([hard, others]), np.intersect1d(target, kept))


def _part(targets: Ragged, rows: slice) -> list[NDArray[np.int64]]:
    return [targets[row] for row in range(rows.start, rows.stop)]


def _load(model_text: str) -> lightgbm.Booster:
    import lightgbm

    try:
        return lightgbm.Booster(model_str=model_text)
    except lightgbm.basic.LightGBMError as error:
        raise FuserError(
            f"LambdaMartFusion: the saved trees cannot be read ({error}). Train again."
        ) from None
