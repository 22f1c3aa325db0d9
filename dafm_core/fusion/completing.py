"""Shortlists made whole before they are fused, so that every fuser works on finite rows.

A list of the best says that the rest is below its last score. A verifier says nothing of what it
was not asked about, so there the others speak for it: an unlisted candidate gets the mean of what
the other providers say, and the listed ones keep the place that the others give them as a group,
reordered and spread by the verifier. A fusion then neither rewards nor punishes being asked.

Fusions that weigh single candidates do better than that, see ``channels/knowledge.py``: they are
given lists made whole, and NaN where a verifier was not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.tiles import HeadScorer, Scores, Tile
from dafm_core.ground.normalize import zscore_rows
from dafm_core.metrics.families import Head
from dafm_core.metrics.ranking import below_all
from dafm_core.store.gallery import Gallery
from dafm_core.store.shortlist import Unknown
from dafm_core.store.stack import SimilarityStack


@dataclass(frozen=True, kw_only=True, eq=False)
class CompletedStack(SimilarityStack):
    """A stack whose tiles are complete; made by :func:`completed`."""

    lists_only: bool = False

    def tile(self, start: int, stop: int) -> Tile:
        """Return completed scores of queries ``start:stop``, (B, K, N); -inf where excluded."""
        return complete(super().tile(start, stop), self.gallery, lists_only=self.lists_only)

    def read(self, rows: NDArray[np.int64]) -> Tile:
        """Return completed scores of some queries; as :meth:`tile`."""
        return complete(super().read(rows), self.gallery, lists_only=self.lists_only)


def completed(stack: SimilarityStack, *, lists_only: bool = False) -> SimilarityStack:
    """Return the stack with complete tiles: itself, where no provider has shortlists.

    Parameters
    ----------
    stack : SimilarityStack
    lists_only : bool
        Whether cells that a provider was not asked about stay NaN.
    """
    if not stack.gallery.unknown:
        return stack
    parts = {part.name: getattr(stack, part.name) for part in fields(SimilarityStack)}
    return CompletedStack(**parts | {"made": None}, lists_only=lists_only)


def complete(tile: Tile, gallery: Gallery, *, lists_only: bool = False) -> Tile:
    """Return a tile without unknown cells.

    Parameters
    ----------
    tile : ndarray of shape (B, K, N), float32
        NaN where unknown, -inf where excluded.
    gallery : Gallery
    lists_only : bool
        Whether cells that a provider was not asked about stay NaN.

    Examples
    --------
    The dense provider ``a`` scores three candidates; the verifier ``v`` was asked about the first
    two, and turns them round. They keep the mean and the spread that ``a`` gives them.

    >>> from dafm_core.ground.ids import Ids
    >>> gallery = Gallery(names=("a", "v"), ids=Ids("xyz"), unknown={"v": "not-asked"})
    >>> tile = np.array([[[2, 1, 0], [10, 20, np.nan]]], np.float32)
    >>> [round(float(x), 2) for x in complete(tile, gallery)[0, 1]]
    [0.0, 1.22, -1.22]
    """
    if not np.isnan(tile).any():
        return tile
    filled = _fill_below(tile, gallery.names, gallery.unknown)
    missing = np.isnan(filled)
    if lists_only or not missing.any():
        return filled
    for row in np.flatnonzero(missing.any(axis=(1, 2))):  # one query at a time: rows of a tile
        partial = np.any(missing[row], axis=1)  # must not see each other
        others = zscore_rows(filled[row, ~partial])  # (K', N)
        for k in np.flatnonzero(partial):
            _speak_for(filled[row, k], others)
    return filled


def completing(score: HeadScorer, gallery: Gallery, *, lists_only: bool = False) -> HeadScorer:
    """Return a scorer of tiles as they are made of one of complete tiles.

    Candidates that no provider knows tie below all others.
    """
    if not gallery.unknown:
        return score

    def score_whole(tile: Tile) -> Mapping[Head, Scores]:
        fused = score(complete(tile, gallery, lists_only=lists_only))
        nobody = unknown_to_all(tile)
        if not nobody.any():
            return fused
        return {head: below_all(scores, nobody) for head, scores in fused.items()}

    return score_whole


def unknown_to_all(tile: Tile) -> NDArray[np.bool_]:
    """Return which candidates no provider has a score of, (B, N)."""
    nobody: NDArray[np.bool_] = np.all(np.isnan(tile), axis=1)
    return nobody


def _fill_below(tile: Tile, names: tuple[str, ...], unknown: Mapping[str, Unknown]) -> Tile:
    """Return a copy in which a list's unknown cells tie one mean step below its lowest score."""
    filled = tile.copy()
    for k, name in enumerate(names):
        if unknown.get(name) == "below":
            for scores in filled[:, k]:
                _tie_below(scores)
    return filled


def _tie_below(scores: NDArray[np.float32]) -> None:
    """Fill one row's unknown cells in place, one mean step below its lowest score."""
    listed, missing = scores[np.isfinite(scores)], np.isnan(scores)
    if len(listed) == 0:
        scores[missing] = 0
        return
    step = np.ptp(listed) / max(1, len(listed) - 1) or np.float32(1)
    lowest = listed.min()
    scores[missing] = min(lowest - step, np.nextafter(lowest, np.float32(-np.inf)))


def _speak_for(scores: NDArray[np.float32], others: NDArray[np.float32]) -> None:
    """Complete one row of a verifier in place, from the standardised rows of the others (K', N)."""
    missing = np.isnan(scores)
    if len(others) == 0:
        _tie_below(scores)  # nobody else knows: after everything that was asked about
        return
    asked = np.isfinite(scores)
    visible = asked | missing  # all that is not excluded
    mean = np.where(visible, others.mean(axis=0), -np.inf)
    if asked.any():
        own = zscore_rows(scores[asked][None])[0]
        scores[asked] = mean[asked].mean() + mean[asked].std() * own
    scores[missing] = mean[missing]
