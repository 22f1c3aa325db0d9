"""Shortlists made whole before they are fused, so that every fuser works on finite rows.

A list of the best says that the rest is below its last score. A verifier says nothing of what it
was not asked about, so there the others speak for it: an unlisted candidate gets the mean of what
the other providers say, and the listed ones keep the place that the others give them as a group,
reordered and spread by the verifier. A fusion then neither rewards nor punishes being asked.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.normalize import zscore_rows
from dafm_core.store.gallery import Gallery
from dafm_core.store.shortlist import Unknown
from dafm_core.store.stack import SimilarityStack

Tile = NDArray[np.float32]


class CompletedStack(SimilarityStack):
    """A stack whose tiles are complete; made by :func:`completed`."""

    def tile(self, start: int, stop: int) -> Tile:
        """Return completed scores of queries ``start:stop``, (B, K, N); -inf where excluded."""
        return complete(super().tile(start, stop), self.gallery)


def completed(stack: SimilarityStack) -> SimilarityStack:
    """Return the stack with complete tiles: itself, where no provider has shortlists."""
    if not stack.gallery.unknown or isinstance(stack, CompletedStack):
        return stack
    return CompletedStack(**{name: getattr(stack, name) for name in stack.__dataclass_fields__})


def complete(tile: Tile, gallery: Gallery) -> Tile:
    """Return a tile without unknown cells.

    Parameters
    ----------
    tile : ndarray of shape (B, K, N), float32
        NaN where unknown, -inf where excluded.
    gallery : Gallery

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
    if not np.isnan(filled).any():
        return filled
    partial = np.isnan(filled).any(axis=(0, 2))  # providers that still have unknown cells
    others = zscore_rows(filled[:, ~partial])  # (B, K', N)
    for k in np.flatnonzero(partial):
        for row in range(len(filled)):
            _speak_for(filled[row, k], others[row])
    return filled


def _fill_below(tile: Tile, names: tuple[str, ...], unknown: Mapping[str, Unknown]) -> Tile:
    """Return a copy in which a list's unknown cells tie one mean step below its lowest score."""
    filled = tile.copy()
    for k, name in enumerate(names):
        if unknown.get(name) != "below":
            continue
        for scores in filled[:, k]:
            listed = scores[np.isfinite(scores)]
            if len(listed) == 0:
                scores[np.isnan(scores)] = 0
                continue
            step = np.ptp(listed) / max(1, len(listed) - 1) or np.float32(1)
            lowest = listed.min()
            below = min(lowest - step, np.nextafter(lowest, np.float32(-np.inf)))
            scores[np.isnan(scores)] = below
    return filled


def _speak_for(scores: NDArray[np.float32], others: NDArray[np.float32]) -> None:
    """Complete one row of a verifier in place, from the standardised rows of the others (K', N)."""
    missing = np.isnan(scores)
    if not missing.any():
        return
    asked = np.isfinite(scores)
    if len(others) == 0:
        lowest = scores[asked].min() if asked.any() else np.float32(1)
        scores[missing] = lowest - 1  # nobody else knows: after everything that was asked about
        return
    visible = asked | missing  # all that is not excluded
    mean = np.where(visible, others.mean(axis=0), -np.inf)
    if asked.any():
        own = zscore_rows(scores[asked][None])[0]
        scores[asked] = mean[asked].mean() + mean[asked].std() * own
    scores[missing] = mean[missing]
