"""Several fusions over the same channels, fused from one look at each tile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dafm_core.fusion.base import Fuser, Scores, Tile
from dafm_core.fusion.channels.banked import view_scorer
from dafm_core.fusion.channels.fuser import ChannelFusion
from dafm_core.fusion.channels.view import ChannelReader, ViewScorer
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
) -> Callable[[Tile], list[Mapping[Head, Scores]]]:
    """Return the function that fuses a tile with every fuser, for some heads of each.

    Fusions that were fitted on the same bank and make the same channels make them once; the scores
    are those of each fuser's own :meth:`~dafm_core.fusion.base.Fuser.head_scorer`.

    Parameters
    ----------
    fusers : sequence of Fuser
        Of any kind; channels are shared where no provider of the stack gives shortlists.
    stack : SimilarityStack
        Its tiles are to be fused.
    heads : sequence of sequences of {"gallery", "subset"}
        Of each fuser.
    """
    gallery = stack.gallery
    apart = {}
    own: list[dict[Head, Head]] = []
    looks: list[tuple[ChannelReader, dict[tuple[int, Head], ViewScorer]]] = []
    for number, (fuser, asked) in enumerate(zip(fusers, heads, strict=True)):
        own.append({head: head if head in fuser.heads else "gallery" for head in asked})
        if not isinstance(fuser, ChannelFusion) or gallery.unknown:
            apart[number] = fuser.head_scorer(stack, asked)
            continue
        reader, ready = fuser.readied(fuser._checked(stack), tuple(set(own[number].values())))
        scorers = {(number, head): score_view for head, score_view in ready.items()}
        for other, together in looks:
            if other.is_of(gallery, reader.layout, reader.source[1]):
                together.update(scorers)
                break
        else:
            looks.append((reader, scorers))
    seen = [view_scorer(reader, scorers) for reader, scorers in looks]

    def score(tile: Tile) -> list[Mapping[Head, Scores]]:
        fused = {key: scores for look in seen for key, scores in look(tile).items()}
        return [
            apart[number](tile)
            if number in apart
            else {head: fused[number, which] for head, which in heads_of.items()}
            for number, heads_of in enumerate(own)
        ]

    return score
