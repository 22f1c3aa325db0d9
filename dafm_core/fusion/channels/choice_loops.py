"""Which candidates are looked at, as loops for Numba; the same in NumPy: ``candidates.py`` for
lists, ``drawing.py`` for training.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dafm_core.fusion.channels.row_loops import N_BUCKETS, collect, count_buckets, edge_of
from dafm_core.ground.zscore_loops import add_to, divide

RUN: Final = 64
"""Candidates of which one comparison says that none of them is chosen."""
ROOM: Final = 256
"""Candidates among which those that are best on average are looked for, beside as many as those."""


def choose(evidence: Any, bars: Any, n_first: int, n_level: Any, mask: Any, chosen: Any) -> int:
    """Write the candidates, ascending, that reach any model's bar; return how many they are.

    Parameters
    ----------
    evidence : ndarray of shape (K, N), float32
    bars : ndarray of shape (K,), float32
        The evidence of each model's ``n_first``-th candidate.
    n_level : ndarray of shape (K,), int32
        Written: how many are level with each bar.
    mask : ndarray of shape (N,), uint8
        Room to work in.
    chosen : ndarray of shape (N + 1,), int32
        Written.
    """
    n_models, n_gallery = evidence.shape
    for i in range(n_gallery):
        mask[i] = 0
    for k in range(n_models):
        bar, own, level, above = bars[k], evidence[k], np.int32(0), np.int32(0)
        for i in range(n_gallery):
            level += np.int32(own[i] == bar)
            above += np.int32(own[i] > bar)
        n_level[k] = level
        if above + level > 2 * n_first:  # those level with so many say nothing for themselves
            for i in range(n_gallery):
                mask[i] |= np.uint8(own[i] > bar)
        else:
            for i in range(n_gallery):
                mask[i] |= np.uint8(own[i] >= bar)
    width = 0
    for i in range(n_gallery):
        chosen[width] = i
        width += mask[i]
    return width


def mark_best(scores: Any, bar: Any, n: int, place: Any, marked: Any) -> None:
    """Mark the n best, given the score of the last of them; of ties, by place.

    Parameters
    ----------
    scores : ndarray of shape (N,), float32
    place : ndarray of shape (N,), int64
    marked : ndarray of shape (N,), uint8
        Set to one.
    """
    level, above = np.int32(0), np.int32(0)
    for i in range(len(scores)):
        level += np.int32(scores[i] == bar)
        above += np.int32(scores[i] > bar)
    if above + level <= n:
        for i in range(len(scores)):
            marked[i] |= np.uint8(scores[i] >= bar)
        return
    for i in range(len(scores)):
        marked[i] |= np.uint8(scores[i] > bar)
    last = -1
    for _ in range(n - above):  # the next in order of places
        following, at = len(place), -1
        for i in range(len(scores)):
            if scores[i] == bar and last < place[i] < following:
                following, at = place[i], i
        marked[at], last = 1, following


def mark_hard(evidence: Any, bars: Any, n_hard: int, place: Any, marked: Any, done: Any) -> None:
    """Mark the best candidates of each model and of their mean.

    Parameters
    ----------
    evidence : ndarray of shape (B, K, N), float32
    bars : ndarray of shape (B, K), float32
        The evidence of each model's ``n_hard``-th candidate.
    place : ndarray of shape (N,), int64
        Of ties.
    marked : ndarray of shape (B, N), uint8
        Set to one.
    done : ndarray of shape (B,), bool
        Written: whether so few are nearly as good on average that it could be done.
    """
    n_rows, n_models, n_gallery = evidence.shape
    mean, room = np.empty(n_gallery, np.float32), np.empty(n_gallery, np.int32)
    starts, near = np.empty(N_BUCKETS + 1, np.int32), np.empty(ROOM + n_hard, np.float32)
    for b in range(n_rows):
        mean[:] = evidence[b, 0]
        for k in range(1, n_models):
            add_to(mean, evidence[b, k])
        divide(mean, np.float32(n_models))
        count_buckets(mean, room, starts)
        n_near = collect(mean, edge_of(starts, n_hard), near)
        done[b] = n_hard <= n_near <= len(near)
        if done[b]:
            for k in range(n_models):
                mark_best(evidence[b, k], bars[b, k], n_hard, place, marked[b])
            for t in range(n_hard):  # the best of what is left comes to the front
                best = t
                for i in range(t + 1, n_near):
                    if near[i] > near[best]:
                        best = i
                near[t], near[best] = near[best], near[t]
            mark_best(mean, near[n_hard - 1], n_hard, place, marked[b])


def any_marked(run: Any) -> bool:
    """Say whether any of a run of marks is set, without a look at each by itself."""
    seen = np.uint8(0)
    for i in range(len(run)):
        seen |= run[i]
    return bool(seen != 0)


def draw_around(
    sure: Any,
    kept: Any,
    place: Any,
    order: Any,
    lots: Any,
    ends: Any,
    weights: Any,
    marks: Any,
    columns: Any,
    log_weight: Any,
) -> bool:
    """Write which candidates are looked at, by their places: sure ones, and the first that lots
    fall on. Say whether there were lots enough.

    Parameters
    ----------
    sure, kept : ndarray of shape (B, N), uint8
        Those that are sure are kept.
    place, order : ndarray of shape (N,), int64
        Each candidate's place, and who stands there.
    lots : ndarray of int64
        Places that are drawn, query by query.
    ends : ndarray of shape (B,), int64
        Where each query's lots end.
    weights : ndarray of shape (B,), float32
        Log weight of who is drawn.
    marks : ndarray of shape (N,), uint8
        Room to work in; zero, and left so if there were lots enough.
    columns, log_weight : ndarray of shape (B, W), int64 and float32
        Written.
    """
    n_rows, n_gallery = sure.shape
    width = columns.shape[1]
    for b in range(n_rows):
        chosen, n = sure[b], 0
        for start in range(0, n_gallery, RUN):
            run = chosen[start : start + RUN]
            if any_marked(run):
                for i in range(len(run)):
                    if run[i]:
                        marks[place[start + i]] = 1
                        n += 1
        at = 0 if b == 0 else ends[b - 1]
        while n < width and at < ends[b]:
            lot = lots[at]
            if marks[lot] == 0 and kept[b, order[lot]]:
                marks[lot] = 2
                n += 1
            at += 1
        if n != width:
            return False
        w = 0
        for start in range(0, n_gallery, RUN):
            run = marks[start : start + RUN]
            if any_marked(run):
                for i in range(len(run)):
                    if run[i]:
                        columns[b, w] = order[start + i]
                        log_weight[b, w] = weights[b] if run[i] == 2 else np.float32(0)
                        run[i] = 0
                        w += 1
    return True
