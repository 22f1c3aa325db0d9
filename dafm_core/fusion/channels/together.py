"""Several fusions over the same channels, fused from one look at each tile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dafm_core.fusion.base import Fuser, Scores, Tile
from dafm_core.fusion.channels.banked import BankedFusion, view_scorer
from dafm_core.fusion.channels.cells import Columns
from dafm_core.fusion.channels.chosen import MadeView, of_families
from dafm_core.fusion.channels.fuser import ChannelFusion
from dafm_core.fusion.channels.view import ChannelReader, TileView, ViewScorer
from dafm_core.metrics.families import Head
from dafm_core.store.stack import SimilarityStack


def scorer_of_all(
    fusers: Sequence[ChannelFusion[Any]], stack: SimilarityStack
) -> Callable[[Tile], list[Mapping[Head, Scores]]]:
    """Return the function that fuses a tile with every fuser, for each of its heads.

    Channels are made once; the scores are those of each fuser's own
    :meth:`~dafm_core.fusion.base.Fuser.head_scorer`.

    Parameters
    ----------
    fusers : sequence of ChannelFusion
        At least one, all of one fit: see
        :meth:`~dafm_core.fusion.channels.fuser.ChannelFusion.with_labels`.
    stack : SimilarityStack
        Of all the providers and no shortlists; its tiles are to be fused.
    """
    first = fusers[0]
    first.record_.check(stack.gallery, stack.query_ids, who=first.name)
    reader = first._reader(stack.gallery, first.families_)
    scorers = {
        (number, head): fuser._ready(fuser.by_head_[head], reader)
        for number, fuser in enumerate(fusers)
        for head in fuser.heads
    }
    score_view = view_scorer(reader, scorers)

    def score_all(tile: Tile) -> list[Mapping[Head, Scores]]:
        fused = score_view(tile)
        return [
            {head: fused[number, head] for head in fuser.heads}
            for number, fuser in enumerate(fusers)
        ]

    return score_all


def scorers_together(
    fusers: Sequence[Fuser], stack: SimilarityStack, heads: Sequence[Sequence[Head]]
) -> Callable[[slice, Tile], list[Mapping[Head, Scores]]]:
    """Return the function that fuses a tile with every fuser, for some heads of each.

    Fusions that were fitted on the same bank and make the same channels, or some of them, make them
    once; the scores are those of each fuser's own
    :meth:`~dafm_core.fusion.base.Fuser.head_scorer`, to rounding. A head for subsets is asked of
    their members alone: all others are -inf.

    Parameters
    ----------
    fusers : sequence of Fuser
        Of any kind; channels are shared where no provider of the stack gives shortlists.
    stack : SimilarityStack
        Its tiles are to be fused.
    heads : sequence of sequences of {"gallery", "subset"}
        Of each fuser.

    Returns
    -------
    callable
        Of the rows of the stack that a tile has, and the tile.
    """
    gallery, subsets = stack.gallery, stack.dataset.subsets
    apart = {}
    own: list[dict[Head, Head]] = []
    ready: list[tuple[ChannelReader, dict[tuple[int, Head], ViewScorer]]] = []
    for number, (fuser, asked) in enumerate(zip(fusers, heads, strict=True)):
        own.append({head: head if head in fuser.heads else "gallery" for head in asked})
        if not isinstance(fuser, BankedFusion) or gallery.unknown:
            apart[number] = fuser.head_scorer(stack, asked)
            continue
        reader, scorers = fuser.readied(fuser._checked(stack), tuple(set(own[number].values())))
        ready.append((reader, {(number, head): scorer for head, scorer in scorers.items()}))
    looks: list[tuple[ChannelReader, dict[tuple[int, Head], ViewScorer]]] = []
    for reader, scorers_of_one in sorted(ready, key=lambda one: -one[0].layout.n_channels):
        for other, together in looks:
            if other.makes_all_of(reader):
                families = reader.layout.families
                together |= {key: _seeing(families, of) for key, of in scorers_of_one.items()}
                break
        else:
            looks.append((reader, scorers_of_one))
    has_members = bool(subsets.counts.all())

    def score(rows: slice, tile: Tile) -> list[Mapping[Head, Scores]]:
        fused: dict[tuple[int, Head], Scores] = {}
        for reader, scorers in looks:
            if has_members:
                members = subsets.part(rows).padded()
                scorers = {
                    key: _among(members, of) if key[1] == "subset" else of
                    for key, of in scorers.items()
                }
            fused |= view_scorer(reader, scorers)(tile)
        return [
            apart[number](tile)
            if number in apart
            else {head: fused[number, which] for head, which in heads_of.items()}
            for number, heads_of in enumerate(own)
        ]

    return score


def _seeing(families: tuple[str, ...], score_view: ViewScorer) -> ViewScorer:
    """Return the scorer of some families for views that may have more."""
    return lambda view: score_view(of_families(view, families))


def _among(members: Columns, score_view: ViewScorer) -> ViewScorer:
    """Return what asks a scorer of each row's members alone; all others are -inf."""

    def score(view: TileView) -> Scores:
        own = score_view(MadeView(view, members))
        if own.shape != members.shape:  # it looks at whole rows whatever it is shown
            return own
        scores = np.full((len(own), view.tile.shape[2]), -np.inf, np.float32)
        np.put_along_axis(scores, members, own, axis=1)
        return scores

    return score
