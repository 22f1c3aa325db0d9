"""Channels of a few chosen candidates of each query, without making those of all the others.

They are those of ``view.py``, to rounding, at a fraction of the work: whole rows are only
standardised and sorted; ranks, reverse ranks, topics and neighbours are looked up where asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.reverse_ranks import ReverseRanks
from dafm_core.fusion.channels.topics import Topics
from dafm_core.fusion.channels.view import TileView
from dafm_core.ground.normalize import minmax_rows

Columns = NDArray[np.int64]
"""Candidates chosen for each query, (B, W)."""

Cells = NDArray[np.float32]
"""One number per provider and chosen candidate, (B, K, W)."""

RankReader: TypeAlias = Callable[[TileView, Columns], Cells]
"""Makes the family ``ranks`` of chosen candidates."""


def log_ranks_at(view: TileView, columns: Columns) -> Cells:
    """Return ``-log(rank / n)``, centred over the row, of the evidence of chosen candidates."""
    chosen = take(view.evidence, columns)
    out = np.zeros(chosen.shape, np.float32)
    for b, k in np.ndindex(out.shape[:2]):
        ordered = view.ordered[b, k]
        ordered = ordered[np.searchsorted(ordered, np.float32(-np.inf), "right") :]
        n = len(ordered)
        if not n:
            continue
        above = n - np.searchsorted(ordered, chosen[b, k], "right")
        level = n - np.searchsorted(ordered, chosen[b, k], "left") - above
        ranks = above + (level + 1) / 2  # ties share their mean rank
        out[b, k] = _mean_log_rank(ordered) - np.log(np.maximum(ranks, 1))
    return out


def channels_at(
    view: TileView, columns: Columns, *, log_ranks: RankReader = log_ranks_at
) -> NDArray[np.float32]:
    """Return the channels of the chosen candidates, (B, C, W), 0 where excluded or not known.

    Parameters
    ----------
    view : TileView of a tile (B, K, N)
    columns : ndarray of shape (B, W), int64
    log_ranks : callable
        What makes the family ``ranks``.
    """
    layout, reader = view.reader.layout, view.reader
    shape = (len(columns), len(layout.families), len(layout.providers), columns.shape[1])
    out, kept = np.zeros(shape, np.float32), np.isfinite(take(view.tile, columns))
    for f, name in enumerate(layout.families):
        scores = log_ranks(view, columns) if name == "ranks" else _family_at(view, name, columns)
        if scores is not None:
            out[:, f, reader.present] = np.where(kept, scores, np.float32(0))
    return out.reshape(len(columns), layout.n_channels, -1)


def take(tile: NDArray[np.float32], columns: Columns) -> Cells:
    """Return a tile's chosen cells, (B, K, N) -> (B, K, W)."""
    return np.stack([row[:, chosen] for row, chosen in zip(tile, columns, strict=True)])


def _family_at(view: TileView, name: str, columns: Columns) -> Cells | None:
    """Return one family's scores, (B, K, W), or None where they are not known."""
    bank, neighbours = view.reader.bank, view.reader.neighbours
    match name:
        case "minmax":
            return take(minmax_rows(view.tile), columns)
        case "rows":
            return take(view.rows, columns)
        case "columns":
            return take(view.columns, columns)
        case "restandardized":
            return take(view.evidence, columns)
        case "reverse" if bank is not None:
            cells = _reverse_at(bank.reverse_ranks, take(view.rows, columns), columns)
            return np.where(view.silent[:, :, None], np.float32(0), cells)
        case "topics" if bank is not None:
            return _topics_at(bank.topics, view.columns, columns)
        case "neighbours" if neighbours is not None:
            return _neighbours_at(view.evidence, neighbours, columns)
        case "neighbour-rows" if neighbours is not None:
            return _neighbours_at(view.rows, neighbours, columns)
    return None


def _mean_log_rank(ordered: NDArray[np.float32]) -> float:
    """Return the mean over a row of the logarithm of the rank, ties sharing their mean rank.

    That is the logarithm of a factorial; only runs of equal scores are looked at one by one.
    """
    n = len(ordered)
    sums = log_factorials(n)
    level = np.flatnonzero(ordered[1:] == ordered[:-1])
    first = level[np.append(True, np.diff(level) > 1)[: len(level)]]
    last = level[np.append(np.diff(level) > 1, True)[-len(level) or 1 :]] + 1
    best, worst = n - last, n - first  # ranks of a run, 1-based
    mean = np.log((best + worst) / 2) * (worst - best + 1)
    return float((sums[n] + (mean - (sums[worst] - sums[best - 1])).sum()) / n)


@lru_cache(maxsize=8)
def log_factorials(n: int) -> NDArray[np.float64]:
    """Return the logarithms of 0!, 1!, ..., n!."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])


def _reverse_at(reverse: ReverseRanks, rows: Cells, columns: Columns) -> Cells:
    """Return :meth:`ReverseRanks.log_ranks` of chosen cells."""
    out = np.empty_like(rows)
    for b, chosen in enumerate(columns):
        thresholds = reverse.thresholds[:, :, chosen]  # (T, K, W)
        out[b] = ReverseRanks(reverse.ranks, thresholds).log_ranks(rows[b : b + 1])[0]
    return out


def _topics_at(topics: Topics, rows: NDArray[np.float32], columns: Columns) -> Cells:
    """Return :meth:`Topics.project` of chosen cells, standardised over the whole row.

    Mean and spread over all candidates follow from the products of the directions with each other;
    what is excluded is taken off.
    """
    missing = ~np.isfinite(rows)
    has_missing = bool(missing.any())
    filled = np.where(missing, np.float32(0), rows) if has_missing else rows
    shares = np.stack(
        [f @ d.T for f, d in zip(filled.swapaxes(0, 1), topics.directions, strict=True)], axis=1
    )
    total = np.einsum("bkh,kh->bk", shares, topics.sums, dtype=np.float64)
    squares = np.einsum("bkh,khg,bkg->bk", shares, topics.products, shares, optimize=True)
    n = np.full(total.shape, rows.shape[2], np.float64)
    if has_missing:
        b, k, column = np.nonzero(missing)
        lost = np.einsum("mh,mh->m", shares[b, k], topics.directions[k, :, column])
        np.subtract.at(n, (b, k), 1)
        np.subtract.at(total, (b, k), lost)
        np.subtract.at(squares, (b, k), lost.astype(np.float64) ** 2)
    n = np.maximum(n, 1)
    mean = total / n
    spread = np.sqrt(np.maximum(squares / n - mean**2, 0))
    out = np.empty((*total.shape, columns.shape[1]), np.float32)
    for b, k in np.ndindex(total.shape):
        out[b, k] = shares[b, k] @ topics.directions[k][:, columns[b]]
    out -= mean[:, :, None].astype(np.float32)
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 1e-6)
    out *= scale[:, :, None].astype(np.float32)
    return out


def _neighbours_at(
    evidence: NDArray[np.float32], neighbours: NDArray[np.int64], columns: Columns
) -> Cells:
    """Return the mean evidence of the nearest others of chosen candidates."""
    n_gallery = evidence.shape[2]
    out = np.empty((len(columns), evidence.shape[1], columns.shape[1]), np.float32)
    for b, chosen in enumerate(columns):
        nearest = neighbours[:, chosen]  # (M, W)
        there = nearest < n_gallery
        values = evidence[b][:, np.where(there, nearest, 0)]  # (K, M, W)
        values[:, ~there] = 0
        values[~np.isfinite(values)] = 0
        out[b] = values.sum(axis=1) / np.maximum(there.sum(axis=0), 1)
    return out
