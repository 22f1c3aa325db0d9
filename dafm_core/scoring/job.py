"""One provider on one dataset: the gallery encoded once, queries scored block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, cast

import numpy as np

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import (
    EncodingProvider,
    Features,
    Provider,
    Similarity,
    SimilarityProvider,
    is_encoding,
)
from dafm_core.datasets.base import Dataset
from dafm_core.errors import SimilarityError
from dafm_core.ground.progress import Progress
from dafm_core.scoring.boundary import check_features, named_errors
from dafm_core.scoring.facts import features_key, scored_passport
from dafm_core.scoring.feature_cache import cached_features

Scores: TypeAlias = tuple[int, Similarity]
"""First row of a block, and its scores."""


class Executor(Protocol):
    """Runs a function over blocks, here or elsewhere; yields results in any order."""

    def __call__(
        self, function: Callable[[tuple[int, int]], Scores], blocks: Iterable[tuple[int, int]]
    ) -> Iterator[Scores]:
        """Yield ``function(block)`` for each block."""
        ...


def run_local(
    function: Callable[[tuple[int, int]], Scores], blocks: Iterable[tuple[int, int]]
) -> Iterator[Scores]:
    """Run blocks one after the other in this process."""
    return map(function, blocks)


@dataclass
class ScoringJob:
    """One provider on one dataset; picklable, so that an executor may run it elsewhere.

    Parameters
    ----------
    dataset : Dataset
    name : str
        Of the provider, for errors and the passport.
    provider : SimilarityProvider or EncodingProvider
    broken : frozenset of str
        Ids of images to pass over.
    """

    dataset: Dataset
    name: str
    provider: Provider
    broken: frozenset[str]
    features: Features | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.images = [i for i in self.dataset.gallery_images() if i.id not in self.broken]

    def passport(self) -> dict[str, Any]:
        """Return what decides the scores."""
        return scored_passport(self.dataset, self.name, self.provider, self.broken)

    def encode_gallery(self, progress: Progress) -> float:
        """Encode the gallery where the provider factors; return the seconds it took."""
        started = time.perf_counter()
        if is_encoding(self.provider):
            self.features = cached_features(
                self.images,
                self._encode_images,
                fingerprint=features_key(self.name, self.passport()),
                on_block=lambda done: progress("gallery", done, len(self.images)),
            )
            if self.features.flags.owndata:
                self.features.flags.writeable = False  # every block must see the same
        return time.perf_counter() - started

    def score_block(self, block: tuple[int, int]) -> Scores:
        """Return the first row and the scores of queries ``start:stop``, (stop - start, N)."""
        start, stop = block
        queries = self.dataset.iter_queries(start, stop)
        whole = [self.broken.isdisjoint(r.id for r in query.references) for query in queries]
        kept = [i for i, is_whole in enumerate(whole) if is_whole]
        if len(kept) == len(queries) and len(self.images) == self.dataset.n_gallery:
            return start, self._score(queries, f"queries {start}:{stop}")
        scores = np.zeros((len(queries), self.dataset.n_gallery), np.float32)
        if kept:
            part = self._score([queries[i] for i in kept], f"queries {start}:{stop}")
            columns = self.dataset.gallery_ids.positions(image.id for image in self.images)
            scores[kept] = part.min(axis=1, keepdims=True)
            scores[np.ix_(np.array(kept), columns)] = part
        return start, scores

    def _score(self, queries: list[Query], where: str) -> Similarity:
        n_queries, queries = len(queries), list(queries)  # as the list of images below
        with named_errors(self.name, where):
            if self.features is None:
                images = list(self.images)  # a provider may do with its list what it likes
                scores = cast(SimilarityProvider, self.provider).similarity(queries, images)
            else:
                model = cast(EncodingProvider, self.provider)
                encoded = model.encode_queries(queries)
                check_features(encoded, n_queries, self.name, where)
                scores = model.similarity(encoded, self.features)
            scores = np.asarray(scores)
        expected = (n_queries, len(self.images))
        if scores.shape != expected:
            raise SimilarityError(
                f"provider {self.name!r}: expected similarity of shape {expected} for {where}, "
                f"got {scores.shape}. Rows follow queries, columns the gallery."
            )
        if scores.dtype.kind not in "fiu":
            raise SimilarityError(
                f"provider {self.name!r}: expected real numbers for {where}, got {scores.dtype}. "
                "Return an array of float32."
            )
        return scores

    def _encode_images(self, images: Sequence[ImageRef]) -> Features:
        where = f"images {images[0].id!r} to {images[-1].id!r}"
        with named_errors(self.name, where):
            features = np.asarray(cast(EncodingProvider, self.provider).encode_gallery(images))
        check_features(features, len(images), self.name, where)
        return features
