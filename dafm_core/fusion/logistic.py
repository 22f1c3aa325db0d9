"""Logistic stacking: is this candidate the target? One scikit-learn regression over all cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from dafm_core.errors import OptionError
from dafm_core.fusion.base import Fuser, Tile, TileScorer
from dafm_core.fusion.channels.bank import QueryBank, bank_from_state, bank_state
from dafm_core.fusion.channels.examples import Examples, make_examples
from dafm_core.fusion.channels.inputs import (
    DEFAULT_INPUTS,
    Inputs,
    parse_families,
    training_bank,
    usable_families,
)

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.store.stack import SimilarityStack


class LogisticFusion(Fuser):
    """Weights that tell targets from other candidates, both classes counting the same.

    The classic way to stack classifiers (on scores alone: ``inputs="rows"``). It takes every
    candidate by itself, where InfoNCE compares the candidates of one query; given the same inputs,
    that is the difference to LightFusion's linear part.

    Parameters
    ----------
    inputs : str
        Comma-separated families of channels, see ``inputs.FAMILIES``.
    regularization : float, default=1.0
        scikit-learn's C.
    n_hard, n_negatives : int
        Best candidates of each provider, and at least so many others per query; each negative
        counts for as many as it stands for.
    seed : int
        Draws the negatives.

    Attributes
    ----------
    weights_ : ndarray of shape (n_channels,), float64
    families_ : tuple of str
        Inputs in use; ``neighbours`` is left out where no provider knows any.
    bank_ : QueryBank or None
    """

    kind = "learned"
    learns = True

    weights_: NDArray[np.float64]
    families_: tuple[str, ...]
    bank_: QueryBank | None

    def __init__(
        self,
        *,
        inputs: str = DEFAULT_INPUTS,
        regularization: float = 1.0,
        n_hard: int = 10,
        n_negatives: int = 100,
        seed: int = 0,
    ) -> None:
        parse_families(inputs, where="LogisticFusion")
        if not (regularization > 0 and n_hard > 0 and n_negatives > 0):
            raise OptionError(
                "LogisticFusion: expected regularization, n_hard and n_negatives > 0, got "
                f"{regularization}, {n_hard} and {n_negatives}."
            )
        self.inputs = inputs
        self.regularization = regularization
        self.n_hard = n_hard
        self.n_negatives = n_negatives
        self.seed = seed

    def scorer(self, stack: SimilarityStack) -> TileScorer:
        """Return the log odds of being a target, up to a constant."""
        inputs = Inputs.of(stack, self.families_, self.bank_)
        weights = np.where(inputs.available, self.weights_, 0).astype(np.float32)

        def score(tile: Tile) -> NDArray[np.float32]:
            fused: NDArray[np.float32] = weights @ inputs.channels(tile)  # (B, C, N) -> (B, N)
            fused[~np.isfinite(tile[:, 0])] = -np.inf
            return fused

        return score

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return weights and bank."""
        arrays, values = bank_state(self.bank_) if self.bank_ is not None else ({}, {})
        return arrays | {"weights": self.weights_}, values | {"families": list(self.families_)}

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Restore weights and bank."""
        self.weights_, self.families_ = arrays["weights"], tuple(values["families"])
        self.bank_ = bank_from_state(arrays, values) if "bank" in values else None

    def _fit(self, stack: SimilarityStack, dataset: Dataset) -> None:
        wanted = parse_families(self.inputs, where="LogisticFusion")
        self.families_ = usable_families(stack, wanted)
        self.bank_ = training_bank(stack, self.families_, self.bank_queries)
        examples = make_examples(
            stack,
            dataset,
            self.families_,
            n_hard=self.n_hard,
            n_uniform=self.n_negatives,
            seed=self.seed,
            bank=self.bank_ if self.bank_queries else None,
        )
        cells, right, weight = _cells(examples)
        if right.all():  # nothing to tell a target from
            self.weights_ = np.full(cells.shape[1], 1 / cells.shape[1])
            return
        regression = LogisticRegression(C=self.regularization, max_iter=1000)
        regression.fit(cells, right, sample_weight=weight)
        self.weights_ = regression.coef_[0].astype(np.float64)


def _cells(
    examples: Examples,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Return candidates (n, C), whether each is a target, and balanced weights that sum to n."""
    right = np.arange(examples.log_weight.shape[1]) == examples.target[:, None]
    counted = np.isfinite(examples.log_weight)
    weight = np.exp(examples.log_weight.astype(np.float64)) * examples.weight[:, None]
    wrong = counted & ~right
    share = np.where(right, weight[right].sum(), max(weight[wrong].sum(), 1.0))
    cells = examples.channels.transpose(0, 2, 1)[counted]  # (E, C, W) -> (n, C)
    return cells, right[counted], (weight / share)[counted] * (len(cells) / 2)
