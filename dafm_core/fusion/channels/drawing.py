"""Which candidates a fusion learns from: hard and labelled ones for sure, the rest by lot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.half_precision import count_rows


class Draw:
    """Chooses ``width`` candidates per query: hard and labelled ones, the rest uniformly.

    Candidates are drawn, and stand, in the order of their ids, whatever their order in the
    gallery.

    Parameters
    ----------
    gallery_ids : sequence of str
    n_hard : int
        Best candidates of each provider, and of their mean, that are chosen for sure.
    width : int
        From the size of the gallery on, all candidates are taken.
    rng : numpy.random.Generator
    in_file_order : bool
        Whether all candidates, where they are taken, stand in the gallery's order.
    """

    def __init__(
        self,
        gallery_ids: Sequence[str],
        n_hard: int,
        width: int,
        rng: np.random.Generator,
        *,
        in_file_order: bool = False,
    ) -> None:
        self.n_hard = n_hard
        self.width = width
        self.rng = rng
        self.in_file_order = in_file_order
        self.order = np.argsort(np.asarray(gallery_ids))
        """Columns by id."""
        self.place = np.argsort(self.order)
        """Each column's place by id."""

    def takes_all(self, n_gallery: int) -> bool:
        """Whether all candidates of a gallery are taken."""
        return self.width >= n_gallery

    def all(self, kept: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return columns and log weights of all candidates, (B, N)."""
        order = np.arange(kept.shape[1]) if self.in_file_order else self.order
        columns = np.broadcast_to(order, kept.shape)
        return columns, np.where(kept[:, order], 0, -np.inf).astype(np.float32)

    def __call__(
        self,
        evidence: NDArray[np.float32],
        bars: NDArray[np.float32],
        wanted: NDArray[np.bool_],
        kept: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return columns and log weights, (B, width).

        Parameters
        ----------
        evidence : ndarray of shape (B, K, N), float32
            Very low where excluded, NaN where a shortlist has no score.
        bars : ndarray of shape (B, K), float32
            Of each provider's ``n_hard``-th best candidate.
        wanted, kept : ndarray of shape (B, N), bool
            Candidates that have a label, and those that are not excluded.
        """
        sure = wanted.copy()
        self.mark_hard(evidence, bars, sure)
        return self.around(sure & kept, kept)

    def around(
        self,
        sure: NDArray[np.bool_],
        kept: NDArray[np.bool_],
        loop: Callable[..., Any] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return columns and log weights, (B, width), of sure candidates (B, N) and of others.

        Parameters
        ----------
        sure, kept : ndarray of shape (B, N), bool
            Who is sure is kept.
        loop : callable, optional
            ``choice_loops.draw_around``, which draws the same candidates.
        """
        if loop is not None and (drawn := self._drawn_by(loop, sure, kept)) is not None:
            return drawn
        chosen = np.empty((len(kept), self.width), np.int64)  # places by id
        log_weight = np.zeros(chosen.shape, np.float32)
        for row in range(len(kept)):
            places = self.place[np.flatnonzero(sure[row])]
            rest = self._others(sure[row], kept[row], self.width - len(places))
            n_rest = int(np.count_nonzero(kept[row])) - len(places)
            both = np.concatenate([places, rest])
            weight = np.zeros(self.width, np.float32)
            weight[len(places) :] = np.log(max(n_rest, 1) / max(1, min(n_rest, len(rest))))
            weight[~kept[row, self.order[both]]] = -np.inf
            by_id = np.argsort(both)
            chosen[row], log_weight[row] = both[by_id], weight[by_id]
        return self.order[chosen], log_weight

    def _drawn_by(
        self, loop: Callable[..., Any], sure: NDArray[np.bool_], kept: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        """Return what :meth:`around` does, of few candidates among many; None of others."""
        n_sure = count_rows(sure)
        n_rest, n = count_rows(kept) - n_sure, self.width - n_sure
        if (3 * n > n_rest).any():
            return None
        before = self.rng.bit_generator.state
        lots = self.rng.integers(0, sure.shape[1], int(2 * n.sum()))  # as if drawn row by row
        weights = np.log(np.maximum(n_rest, 1) / np.maximum(n, 1)).astype(np.float32)
        columns = np.empty((len(sure), self.width), np.int64)
        log_weight = np.empty(columns.shape, np.float32)
        marks = np.zeros(sure.shape[1], np.uint8)
        flags = sure.view(np.uint8), np.ascontiguousarray(kept).view(np.uint8)
        places = self.place, self.order, lots, np.cumsum(2 * n)
        if loop(*flags, *places, weights, marks, columns, log_weight):
            return columns, log_weight
        self.rng.bit_generator.state = before  # a row needs more lots, which follow its first
        return None

    def _others(
        self, sure: NDArray[np.bool_], kept: NDArray[np.bool_], n: int
    ) -> NDArray[np.int64]:
        """Return places by id of ``n`` candidates drawn uniformly from those that are not sure.

        Where fewer are kept, removed ones fill up the number.
        """
        n_gallery, n_free = len(kept), np.count_nonzero(kept & ~sure)
        if 3 * n > n_free:  # a lot for everyone; the removed come last
            lots = self.rng.random(n_gallery, np.float32)
            free = ~sure[self.order]
            lots[~kept[self.order]] += 1
            places = np.flatnonzero(free)
            return places[np.argpartition(lots[free], n - 1)[:n]] if n else places[:0]
        found = np.empty(0, np.int64)
        while len(found) < n:  # with few to draw, hardly any is drawn in vain
            drawn = self.rng.integers(0, n_gallery, 2 * n)
            columns = self.order[drawn]
            drawn = np.concatenate([found, drawn[kept[columns] & ~sure[columns]]])
            first = np.sort(np.unique(drawn, return_index=True)[1])
            found = drawn[first]
        return found[:n]

    def mark_hard(
        self,
        evidence: NDArray[np.float32],
        bars: NDArray[np.float32],
        marked: NDArray[np.bool_],
    ) -> None:
        """Mark the best candidates of each provider and of their mean, (B, N)."""
        has_unknown = bool(np.isnan(evidence).any())
        if has_unknown:  # a candidate is as hard as those say that know it
            known = ~np.isnan(evidence)
            total = np.where(known, evidence, 0).sum(axis=1)
            mean = np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), -np.inf)
            evidence = np.where(known, evidence, np.float32(-np.inf))
        else:
            mean = evidence.mean(axis=1)
        n_gallery = evidence.shape[2]
        mean = mean.astype(np.float32, copy=False)
        mean_bars = np.partition(mean, n_gallery - self.n_hard, axis=1)[:, n_gallery - self.n_hard]
        for row in range(len(evidence)):
            for k in range(evidence.shape[1]):
                self._mark_best(evidence[row, k], bars[row, k], marked[row])
            self._mark_best(mean[row], mean_bars[row], marked[row])

    def _mark_best(
        self, scores: NDArray[np.float32], bar: np.float32, marked: NDArray[np.bool_]
    ) -> None:
        """Mark the ``n_hard`` best, given the score of the last of them; of ties, by id."""
        best = np.flatnonzero(scores >= bar)
        if len(best) > self.n_hard:
            above = best[scores[best] > bar]
            level = best[scores[best] == bar]
            level = level[np.argsort(self.place[level])][: self.n_hard - len(above)]
            best = np.concatenate([above, level])
        marked[best] = True
