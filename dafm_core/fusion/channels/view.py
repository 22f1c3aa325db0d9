"""What a learned fusion sees of a candidate: channels made from a tile, a bank and neighbours.

LightFusion, logistic stacking and any plugin that learns per candidate share these, so that they
are compared on the same inputs. NumPy only; which candidates to learn from is ``examples.py``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Scores, Tile
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.families import (
    BANK_FAMILIES,
    BANK_ONLY_FAMILIES,
    CONTEXT_PER_PROVIDER,
    NEIGHBOUR_FAMILIES,
)
from dafm_core.fusion.channels.layout import Layout
from dafm_core.ground.normalize import minmax_rows, rank_rows, zscore_rows
from dafm_core.store.gallery import Gallery

N_NEIGHBOURS: Final = 8
N_TOP: Final = 100
"""Best scores that a row's context looks at."""


@dataclass(frozen=True, eq=False)
class ChannelReader:
    """Makes channels of tiles of one gallery; what depends on the gallery alone is ready.

    Parameters
    ----------
    layout : Layout
        Families and providers; a provider that the gallery lacks gives zeros.
    present : ndarray of int64
        Where the gallery's providers stand among the layout's.
    bank : QueryBank or None
        Aligned with the gallery.
    neighbours : ndarray of shape (M, N), int64, or None
        Each candidate's nearest others; N stands for none.
    source : (Gallery, QueryBank or None)
        What it was made of.
    """

    layout: Layout
    present: NDArray[np.int64]
    bank: QueryBank | None
    neighbours: NDArray[np.int64] | None
    source: tuple[Gallery, QueryBank | None] = field(repr=False)

    @classmethod
    def of(cls, gallery: Gallery, layout: Layout, bank: QueryBank | None) -> ChannelReader:
        """Return the reader of a gallery, with or without a bank."""
        needs_bank = bank is not None and not BANK_FAMILIES.isdisjoint(layout.families)
        needs_neighbours = not NEIGHBOUR_FAMILIES.isdisjoint(layout.families)
        return cls(
            layout=layout,
            present=np.array([layout.providers.index(name) for name in gallery.names]),
            bank=bank.aligned(gallery) if bank is not None and needs_bank else None,
            neighbours=gallery_neighbours(gallery) if needs_neighbours else None,
            source=(gallery, bank),
        )

    def is_of(self, gallery: Gallery, layout: Layout, bank: QueryBank | None) -> bool:
        """Say whether it was made of this very gallery and bank."""
        return self.source[0] is gallery and self.source[1] is bank and self.layout == layout

    def makes_all_of(self, other: ChannelReader) -> bool:
        """Say whether the channels of another reader, of this gallery and bank, are among its."""
        same = all(a is b for a, b in zip(self.source, other.source, strict=True))
        mine, theirs = self.layout, other.layout
        return (
            same and mine.providers == theirs.providers and {*theirs.families} <= {*mine.families}
        )

    @property
    def present_mask(self) -> NDArray[np.bool_]:
        """Which of the layout's providers the gallery has, (K,)."""
        return np.isin(np.arange(len(self.layout.providers)), self.present)

    @property
    def available(self) -> NDArray[np.bool_]:
        """Which channels say anything here, (C,)."""
        silent = set(BANK_ONLY_FAMILIES if self.bank is None else ())
        silent |= set(NEIGHBOUR_FAMILIES if self.neighbours is None else ())
        return self.layout.of_providers(self.present_mask) & ~self.layout.of_families(silent)

    def context(
        self, top: NDArray[np.float32], entropy: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the context, (B, 5 K), given each row's best scores and its entropy.

        Parameters
        ----------
        top : ndarray of shape (B, K', T), float32
            Descending; of the K' providers that the gallery has.
        entropy : ndarray of shape (B, K'), float32
        """
        first, second, tenth, hundredth = (
            top[:, :, min(i, top.shape[2] - 1)] for i in (0, 1, 9, N_TOP - 1)
        )
        shape = np.stack([first, first - second, first - tenth, tenth - hundredth, entropy], 1)
        out = np.zeros((len(top), CONTEXT_PER_PROVIDER, len(self.layout.providers)), np.float32)
        out[:, :, self.present] = shape
        return out.reshape(len(top), -1)

    def read(self, tile: Tile) -> TileView:
        """Return what can be said of a tile of raw scores, each view made once, when asked for."""
        return TileView(self, tile)


class TileView:
    """A tile (B, K, N) of raw scores as channels, evidence and context."""

    def __init__(self, reader: ChannelReader, tile: Tile) -> None:
        self.reader = reader
        self.tile = tile

    @cached_property
    def rows(self) -> NDArray[np.float32]:
        """Row-standardised scores, (B, K, N)."""
        return zscore_rows(self.tile)

    @cached_property
    def silent(self) -> NDArray[np.bool_]:
        """Which rows hold no evidence: all candidates are level, (B, K)."""
        peaks = np.fmax.reduce(self.rows, axis=2, initial=-np.inf)
        silent: NDArray[np.bool_] = ~(peaks > 0)  # the mean is 0: a row that varies rises above it
        return silent

    @cached_property
    def columns(self) -> NDArray[np.float32]:
        """Rows standardised over the bank; a row without evidence stays without."""
        if self.reader.bank is None:
            return self.rows
        columns = self.reader.bank.statistics.apply(self.rows)
        columns[self.silent] = self.rows[self.silent]
        return columns

    @cached_property
    def evidence(self) -> NDArray[np.float32]:
        """Comparable scores, by which hard candidates are chosen, (B, K, N)."""
        return self.rows if self.reader.bank is None else zscore_rows(self.columns)

    @cached_property
    def ordered(self) -> NDArray[np.float32]:
        """The evidence of each row, ascending, (B, K, N); what is excluded or unknown comes first.

        Sorted numbers alone say where any candidate stands.
        """
        evidence = self.evidence
        if np.isnan(evidence).any():
            evidence = np.fmax(evidence, np.float32(-np.inf))
        return np.sort(evidence, axis=2)

    def channels(self) -> NDArray[np.float32]:
        """Return the channels, (B, n_channels, N), 0 where excluded or not known; made once."""
        return self._channels

    @cached_property
    def _channels(self) -> NDArray[np.float32]:
        layout, (n_rows, _, n_gallery) = self.reader.layout, self.tile.shape
        shape = (n_rows, len(layout.families), len(layout.providers), n_gallery)
        out, kept = np.zeros(shape, np.float32), np.isfinite(self.tile)
        for f, name in enumerate(layout.families):
            scores = self._family(name)
            if scores is not None:
                out[:, f, self.reader.present] = np.where(kept, scores, np.float32(0))
        return out.reshape(n_rows, -1, n_gallery)

    def context(self) -> NDArray[np.float32]:
        """Return what the shape of each row says about its query, (B, 5 K) float32.

        Best score, its lead over the second and the tenth, the tenth's over the hundredth, and
        the entropy of the row: classic predictors of how far a ranking can be trusted.
        """
        return self._context

    @cached_property
    def _context(self) -> NDArray[np.float32]:
        rows, last = self.rows, self.tile.shape[2] - 1
        kept = np.isfinite(rows)
        if not kept.all():  # an excluded candidate is no evidence
            lowest = rows.min(axis=2, keepdims=True, where=kept, initial=0.0)
            rows = np.where(kept, rows, lowest)
        n_top = min(N_TOP, last + 1)
        top = np.partition(rows, last + 1 - n_top, axis=2)[:, :, last + 1 - n_top :]
        top = np.sort(top, axis=2)[:, :, ::-1]
        below = rows - top[:, :, :1]
        chance = np.exp(below)
        total = chance.sum(axis=2)
        entropy = np.log(total) - np.einsum("bkn,bkn->bk", chance, below) / total
        return self.reader.context(top, entropy)

    def _family(self, name: str) -> NDArray[np.float32] | None:
        """Return one family's scores, (B, K, N), or None where they are not known."""
        bank, neighbours = self.reader.bank, self.reader.neighbours
        match name:
            case "minmax":
                return minmax_rows(self.tile)
            case "rows":
                return self.rows
            case "columns":
                return self.columns
            case "restandardized":
                return self.evidence
            case "ranks":
                return _log_ranks(self.evidence)
            case "reverse" if bank is not None:
                return np.where(
                    self.silent[:, :, None], np.float32(0), bank.reverse_ranks.log_ranks(self.rows)
                )
            case "topics" if bank is not None:
                return zscore_rows(bank.topics.project(self.columns))
            case "neighbours" if neighbours is not None:
                return _mean_over_neighbours(self.evidence, neighbours)
            case "neighbour-rows" if neighbours is not None:
                return _mean_over_neighbours(self.rows, neighbours)
        return None


ViewScorer: TypeAlias = Callable[[TileView], Scores]
"""Scores the candidates of a view, ``(B, N)``; excluded cells are removed by the shell."""


def gallery_neighbours(gallery: Gallery) -> NDArray[np.int64] | None:
    """Return the pooled nearest neighbours of every provider that knows them, (M, N), or None."""
    if not gallery.neighbours:
        return None
    n_each = min(N_NEIGHBOURS, max(2, 2 * N_NEIGHBOURS // len(gallery.neighbours)))
    lists = [gallery.neighbours[name][:, :n_each] for name in sorted(gallery.neighbours)]
    pooled = np.concatenate(lists, axis=1).T.astype(np.int64)
    return np.where(pooled >= 0, pooled, gallery.n_candidates)


def usable_families(gallery: Gallery, families: tuple[str, ...]) -> tuple[str, ...]:
    """Return the families that a gallery supports: all, or those without neighbours."""
    known = bool(gallery.neighbours)
    return tuple(name for name in families if known or name not in NEIGHBOUR_FAMILIES)


def _log_ranks(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``-log(rank / n)``, centred: variance about 1 for any gallery; 0 if all are tied."""
    ranks = rank_rows(evidence)
    kept = np.isfinite(ranks)
    n = np.maximum(np.count_nonzero(kept, axis=2, keepdims=True), 1)
    logs = -np.log(np.where(kept, ranks, 1) / n.astype(np.float32))
    mean = np.where(kept, logs, 0).sum(axis=2, keepdims=True, dtype=np.float32) / n
    centred: NDArray[np.float32] = logs - mean.astype(np.float32)
    return centred


def _mean_over_neighbours(
    evidence: NDArray[np.float32], neighbours: NDArray[np.int64]
) -> NDArray[np.float32]:
    known = np.isfinite(evidence)
    shape = (*evidence.shape[:2], evidence.shape[2] + 1)  # one more candidate, which is "none"
    padded = np.zeros(shape, np.float32)
    np.copyto(padded[:, :, :-1], evidence, where=known)
    total = np.empty(evidence.shape, np.float32)
    # Row by row, each of which stays in the cache; "clip" spares NumPy a look at every index.
    for row, out in zip(_rows(padded), _rows(total), strict=True):
        np.sum(np.take(row, neighbours, mode="clip"), axis=0, out=out)
    n = np.maximum((neighbours < evidence.shape[2]).sum(axis=0), 1)
    mean: NDArray[np.float32] = total / n.astype(np.float32)
    return mean


def _rows(tile: NDArray[np.float32]) -> NDArray[np.float32]:
    return tile.reshape(-1, tile.shape[-1])
