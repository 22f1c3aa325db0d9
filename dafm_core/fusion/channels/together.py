"""Several fusions over the same channels, fused from one look at each tile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dafm_core.fusion.base import Scores, Tile
from dafm_core.fusion.channels.banked import view_scorer
from dafm_core.fusion.channels.fuser import ChannelFusion
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
