"""How sure the linear weights are, and scores that say so. NumPy only.

As many other labels would have led to other weights. A candidate that is good by some of them only
is scored nearer to the middle than one that is good by all: what counts is the chance that it
beats the rivals, over all weights that labels might have led to. What no label has moved is the
label-free fusion's own, and not in doubt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Scores
from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.light.linear import Fit, Matrix, Used, Vector, channels_of, some_blocks

CAUTION: Final = 6.0
"""What variances are multiplied by, chosen among 2, 4, 6 and 8: see docs/explanation/ablation.md.
That labels of a group ask for the same images explains 1.5 of it.
"""
SMALLEST: Final = 1e-7
"""Curvature, as a share of the largest, below which it is rounding, and nothing can be told."""
BLOCK_CELLS: Final = 1 << 12
"""Candidates scored at a time."""


class Doubt(NamedTuple):
    """How far a candidate's score may be off, and where doubt pulls it.

    Parameters
    ----------
    level : float
        What a typical query's rivals reach together: a score as high is as good as an even chance.
    centre : ndarray of shape (C,), float64
        Channels of a typical rival: how a candidate differs from them is what may be misjudged.
    root : ndarray of shape (C, C), float32
        The squared length of ``root @ (channels - centre)`` is what is added to one, where the
        score's distance from the level is divided by the square root of the sum.
    """

    level: float
    centre: Vector
    root: NDArray[np.float32]

    @classmethod
    def none(cls, n_channels: int) -> Doubt:
        """Return what leaves every score as it is."""
        return cls(0.0, np.zeros(n_channels), np.zeros((n_channels, n_channels), np.float32))

    @property
    def is_none(self) -> bool:
        """Whether every score stays as it is."""
        return not self.root.any()

    @property
    def shift(self) -> NDArray[np.float32]:
        """``root @ centre``, (C,)."""
        return (self.root @ self.centre).astype(np.float32)

    def knowing(self, available: NDArray[np.bool_]) -> Doubt:
        """Return the same where some channels cannot be made, and are zero."""
        return self._replace(
            centre=np.where(available, self.centre, 0),
            root=np.where(available, self.root, np.float32(0)),
        )

    def within(self, used: NDArray[np.bool_]) -> Doubt:
        """Return the same among more channels, of which it knows those that are ``used``."""
        wide = Doubt.none(len(used))
        wide.centre[used] = self.centre
        wide.root[np.ix_(used, used)] = self.root
        return wide._replace(level=self.level)


def doubt_of(
    examples: Examples, fit: Fit, weights: Vector, *, moved: float = 1.0, used: Used = None
) -> Doubt:
    """Return how sure weights are that were found from examples.

    Parameters
    ----------
    fit : Fit
    weights : ndarray of shape (C,), float64
        What is believed, between the prior and the fit.
    moved : float, default=1.0
        How far it is from the prior to the fit, in [0, 1].
    used : ndarray of bool, optional
        Channels that the weights are of; all by default.

    Notes
    -----
    Let D be the curvature of the loss and H that with the prior. With other labels the gradient
    would differ, with variance D, and the weights by as much over H: their variance is
    ``moved**2 D / H**2``. It is nothing where the prior alone decides, and fades with many labels.

    References
    ----------
    Variance of what minimises a loss: Huber, The behavior of maximum likelihood estimates under
    nonstandard conditions, Berkeley Symposium 1967. Outputs moderated by it: MacKay, The evidence
    framework applied to classification networks, Neural Computation 4, 1992; there a logit of mean
    m and variance v counts as ``m / sqrt(1 + pi v / 8)``.
    """
    rivals = _rivals(examples, weights, used)
    if rivals is None:
        return Doubt.none(len(weights))
    sure, directions = np.linalg.eigh(len(examples) * _symmetric(fit.hessian))
    told = sure > SMALLEST * sure[-1]
    inverse = directions * np.where(told, 1 / np.where(told, sure, 1), 0) @ directions.T
    variance, directions = np.linalg.eigh(len(examples) * _symmetric(fit.hessian - fit.pull))
    scale = np.sqrt(np.pi / 8 * CAUTION * np.maximum(variance, 0)) * moved
    return Doubt(*rivals, (scale[:, None] * directions.T @ inverse).astype(np.float32))


def _symmetric(matrix: Matrix) -> Matrix:
    """Return a matrix without what rounding has made unlike its transpose."""
    return (matrix + matrix.T) / 2


def _rivals(examples: Examples, weights: Vector, used: Used) -> tuple[float, Vector] | None:
    """Return the mean logarithm of what rivals' chances sum to, and its gradient, (C,).

    None where no example has a rival.
    """
    level, centre, n = 0.0, np.zeros(len(weights)), 0
    for some in some_blocks(examples):
        channels = channels_of(examples, some, used)
        offset = examples.log_weight[some].copy()
        offset[np.arange(len(offset)), examples.target[some]] = -np.inf
        has_rival = np.isfinite(offset).any(axis=1)
        channels, offset = channels[has_rival], offset[has_rival]
        logits = weights.astype(np.float32) @ channels + offset  # (E, C, W) -> (E, W)
        peak = logits.max(axis=1, keepdims=True, initial=-np.inf)
        chance = np.exp(logits - peak)
        total = chance.sum(axis=1, keepdims=True)
        level += float((peak + np.log(total)).sum(dtype=np.float64))
        mean = (channels @ (chance / total)[:, :, None])[:, :, 0]
        centre += mean.sum(axis=0, dtype=np.float64)
        n += len(offset)
    return (level / n, centre / n) if n else None


def doubted_score(
    doubt: Doubt, weights: NDArray[np.float32], channels: NDArray[np.float32]
) -> Scores:
    """Return linear scores drawn to the level by how much they are in doubt, (B, C, N) -> (B, N).

    Without doubt they are the linear ones.
    """
    fused: Scores = weights @ channels
    if doubt.is_none:
        return fused
    level, shift = np.float32(doubt.level), doubt.shift
    for row, block in _blocks(*fused.shape):
        away = doubt.root @ channels[row, :, block] - shift[:, None]  # (C, n)
        divisor = np.sqrt(1 + np.einsum("cn,cn->n", away, away))
        fused[row, block] = level + (fused[row, block] - level) / divisor
    return fused


def _blocks(n_rows: int, n_candidates: int) -> Iterator[tuple[int, slice]]:
    for row in range(n_rows):
        for start in range(0, n_candidates, BLOCK_CELLS):
            yield row, slice(start, start + BLOCK_CELLS)


def to_arrays(doubts: Sequence[Doubt]) -> dict[str, NDArray[Any]]:
    """Return the doubts of S sets of providers as they are saved."""
    return {
        "doubt.level": np.array([doubt.level for doubt in doubts]),
        "doubt.centre": np.stack([doubt.centre for doubt in doubts]),
        "doubt.root": np.stack([doubt.root for doubt in doubts]),
    }


def from_arrays(arrays: Mapping[str, NDArray[Any]], row: int) -> Doubt:
    """Return the doubt of one set of providers; models of before have none."""
    if "doubt.root" not in arrays:
        return Doubt.none(arrays["weights"].shape[1])
    level, centre, root = (arrays[f"doubt.{part}"][row] for part in Doubt._fields)
    return Doubt(float(level), centre, root)
