"""Answers from the few images of a large gallery that can be hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dafm_core.search.answers import Answer, Hit, Opinion
from dafm_core.search.asking import ask_all, by_providers, reasons_of, vectors_of
from dafm_core.search.finding import Asked
from dafm_core.search.hits import best, single
from dafm_core.search.live import LiveProvider
from dafm_core.search.prepared import Prepared
from dafm_core.search.requests import Request
from dafm_core.search.two_stage import Found


class FewImages:
    """Answers queries of an index without whole rows.

    Parameters
    ----------
    prepared : Prepared
    live : mapping of str to LiveProvider
    nearest : int
        First images of each provider, and of their sum, that are ranked; twice the hits wanted, if
        that is more.
    """

    def __init__(
        self, prepared: Prepared, live: Mapping[str, LiveProvider], *, nearest: int
    ) -> None:
        self._prepared = prepared
        self._index = prepared.index
        self._live = live
        self._nearest = nearest

    def can_answer(self, requests: Sequence[Request]) -> bool:
        """Say whether queries can be answered so, and need not: few images are not all."""
        names, k = self._index.names, max((request.k for request in requests), default=1)
        covers = (len(names) + 1) * max(self._nearest, 2 * k) >= self._index.n_images
        return not covers and self._prepared.two_stage(names) is not None

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Return the answers, in order."""
        index = self._index
        queries = [request.query(index) for request in requests]
        vectors, failed = ask_all(self._live, requests, queries, vectors_of)
        answers: dict[int, Answer] = {}
        for names, members in by_providers(len(requests), vectors, failed).items():
            stage = self._prepared.two_stage(names)
            assert stage is not None  # it is there with all providers, and so without some
            for i in members:
                asked = Asked(
                    queries={name: vectors[name][i] for name in names},
                    excluded=requests[i].excluded(queries[i], index),
                    shown=requests[i].shown(index),
                    depth=max(self._nearest, 2 * requests[i].k),
                )
                found = stage.rank(asked)
                answers[i] = self._listed(names, found, requests[i].k, reasons_of(failed, i))
        return [answers[i] for i in range(len(requests))]

    def _listed(
        self, names: tuple[str, ...], found: Found, k: int, left_out: Mapping[str, str]
    ) -> Answer:
        """Return the answer of a ranking of few images."""
        ids, columns = self._index.ids, found.columns
        hits = []
        for rank, place in enumerate(best(found.fused, k, ids, columns), start=1):
            opinions = {
                name: Opinion.plain(
                    float(found.scores[n, place]), float(found.standardised[n, place])
                )
                for n, name in enumerate(names)
            }
            score = float(found.fused[place])
            hits.append(
                Hit(rank=rank, image_id=ids[columns[place]], score=score, opinions=opinions)
            )
        return Answer(
            hits=tuple(hits),
            singles={
                name: single(found.scores[n], k, ids, columns) for n, name in enumerate(names)
            },
            left_out=dict(left_out),
            n_scored=len(columns),
            n_images=self._index.n_images,
            estimated=found.estimated,
            notes=self._prepared.notes,
        )
