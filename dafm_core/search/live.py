"""A provider at work on an index: it encodes queries, and scores images by their features.

Which images are asked about, and what is made of the scores, is ``search.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from dafm_core.catalog import PluginCatalog
from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import (
    EncodingProvider,
    Features,
    PairProvider,
    Provider,
    Similarity,
    SimilarityProvider,
)
from dafm_core.errors import AlignmentError, DatasetError, ProviderError, SimilarityError
from dafm_core.ground.normalize import unit_rows
from dafm_core.scoring.boundary import announced, check_features
from dafm_core.scoring.facts import provider_facts
from dafm_core.search.calling import Caller
from dafm_core.search.features import GalleryFeatures
from dafm_core.search.index import GalleryIndex
from dafm_core.search.manifest import Entry

RESIDENT_BYTES: Final = 256 << 20
"""Features of one provider that are kept in memory as float32; larger ones stay on disk."""


class LiveProvider:
    """One provider of an index.

    Parameters
    ----------
    index : GalleryIndex
    entry : Entry
    provider : Provider or None
        None for features made elsewhere.
    seconds : float, optional
        What one call of it may take.
    left_out : str, optional
        Why it is not asked at all.
    """

    def __init__(
        self,
        index: GalleryIndex,
        entry: Entry,
        provider: Provider | None,
        *,
        seconds: float | None = None,
        left_out: str | None = None,
    ) -> None:
        self.entry = entry
        self.left_out = left_out
        self._index = index
        self._provider = provider
        self._call = Caller(entry.name, seconds)
        self._features: GalleryFeatures | None = None
        self._whole: NDArray[np.float32] | None = None
        if entry.has_features and left_out is None:
            self._features = index.features(entry.name)
            if self._features.n_bytes <= RESIDENT_BYTES:
                self._whole = self._features.whole()

    @property
    def features(self) -> GalleryFeatures:
        """Features of every image."""
        if self._features is None:
            raise SimilarityError(f"provider {self.entry.name!r}: has no features of images.")
        return self._features

    @property
    def is_late(self) -> bool:
        """Whether a call of it has not returned in time, and still has not."""
        return self._call.is_late

    @property
    def is_pair(self) -> bool:
        """Whether it is asked about single pairs."""
        return self.entry.kind == "pair"

    def refuse(self, query: Query) -> str | None:
        """Return why it cannot take a query, or None where it can."""
        n = len(query.references)
        if self.left_out is not None:
            return self.left_out
        if self.entry.kind != "given" and self.entry.references == "one" and n != 1:
            return f"needs exactly one reference image, got {n}"
        return None

    def encode(
        self, queries: Sequence[Query], vectors: Sequence[Mapping[str, NDArray[Any]]]
    ) -> Features | Sequence[Query]:
        """Return what ``scores`` compares with images: features, or the queries themselves.

        Raises
        ------
        DatasetError
            If features made elsewhere come without a vector for the query.
        SimilarityError
            For features of a wrong shape, NaN or infinite ones.
        """
        name = self.entry.name
        if self.entry.kind == "given":
            return np.stack([self._given(v) for v in vectors])
        if self.entry.kind != "encoding":
            return queries
        model = cast(EncodingProvider, self._provider)
        encoded = self._call(lambda: model.encode_queries(list(queries)))
        check_features(encoded, len(queries), name, "the query")
        return np.asarray(encoded)

    def rows(self, encoded: Features | Sequence[Query]) -> Similarity:
        """Return scores of every image, (B, N) float32."""
        name, n = self.entry.name, self._index.n_images
        if self.entry.kind == "row":
            model, queries = cast(SimilarityProvider, self._provider), cast(list[Query], encoded)
            scores = self._call(lambda: model.similarity(queries, list(self._index.refs)))
            return _checked(scores, (len(encoded), n), name)
        if self._whole is not None:
            return _checked(self._compare(encoded, self._whole), (len(encoded), n), name)
        scores = np.empty((len(encoded), n), np.float32)
        for columns, block in self.features.blocks():
            scores[:, columns] = self._compare(encoded, block)
        return _checked(scores, (len(encoded), n), name)

    def score_pairs(self, query: Query, images: Sequence[ImageRef]) -> NDArray[np.float32]:
        """Return a pair provider's scores of some images."""
        if self.left_out is not None:
            raise ProviderError(self.left_out)
        model = cast(PairProvider, self._provider)
        answers = self._call(lambda: model.score_pairs([query], [list(images)]))
        return _checked(np.asarray(answers[0]), (len(images),), self.entry.name)

    def _compare(self, encoded: Any, features: NDArray[np.float32]) -> Similarity:
        if self._provider is None or self.entry.is_dot:
            scores: Similarity = encoded.astype(np.float32, copy=False) @ features.T
            return scores
        model = cast(EncodingProvider, self._provider)
        return self._call(lambda: model.similarity(encoded, features))

    def _given(self, vectors: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        name, width = self.entry.name, self.entry.width
        if name not in vectors:
            raise DatasetError(
                f"provider {name!r}: its features were made elsewhere, so a query "
                "needs a vector of its own for it."
            )
        vector = np.asarray(vectors[name], np.float32).reshape(-1)
        if vector.shape != width or not np.isfinite(vector).all():
            raise DatasetError(
                f"provider {name!r}: expected a finite vector of {width[0]} numbers for the query, "
                f"got shape {vector.shape}."
            )
        if self.entry.passport.get("options", {}).get("measure") == "cosine":
            vector = unit_rows(vector[None])[0]
        return vector


def load_providers(
    index: GalleryIndex,
    given: Mapping[str, Provider] | None = None,
    *,
    settings: Mapping[str, Mapping[str, str]] | None = None,
    catalog: PluginCatalog | None = None,
    seconds: float | None = None,
    without: Mapping[str, str] | None = None,
) -> dict[str, LiveProvider]:
    """Return the providers of an index, ready; each must be the model that made the index.

    Parameters
    ----------
    index : GalleryIndex
    given : mapping of str to Provider, optional
        Objects to use; the others are loaded as they were for the index.
    settings : mapping of str to mapping of str, optional
        Options that replace those of the index, e.g. where a checkpoint lies on this machine.
    seconds : float, optional
        What one call of a provider may take.
    without : mapping of str to str, optional
        Providers that are neither loaded nor asked, with the reason that answers give.

    Raises
    ------
    ProviderError, OptionError
        If a provider cannot be loaded.
    AlignmentError
        If it is another model than the one that made the index; says in what they differ.
    """
    given, settings, without = given or {}, settings or {}, without or {}
    for name in [*given, *settings, *without]:
        if name not in index.entries:
            raise AlignmentError(
                f"{index.path}: expected providers {', '.join(index.names)}, got {name!r}."
            )
    live = {}
    for name, entry in index.entries.items():
        if name in without:
            live[name] = LiveProvider(index, entry, None, left_out=without[name])
            continue
        provider = given.get(name)
        if provider is None and entry.kind != "given":
            if not entry.load:
                raise ProviderError(
                    f"provider {name!r}: was handed over when the index was built, and is no "
                    f"plugin. Give it again: providers={{{name!r}: ...}}."
                )
            catalog = catalog or PluginCatalog.discover()
            options = {**entry.load["options"], **settings.get(name, {})}
            with announced(f"provider {name!r} at loading"):
                provider = catalog.load_provider(entry.load["provider"], options)
        if provider is not None:
            check_same(index.path, entry, provider)
        live[name] = LiveProvider(index, entry, provider, seconds=seconds)
    return live


def check_same(path: Path, entry: Entry, provider: Provider) -> None:
    """Raise AlignmentError unless a provider is the model that made the index."""
    made = entry.passport.get("fingerprint", {})
    here = provider_facts(provider, entry.name)["fingerprint"]
    for key in sorted(made.keys() | here.keys()):
        if made.get(key) != here.get(key):
            raise AlignmentError(
                f"{path}: provider {entry.name!r}: expected {key} {made.get(key)!r}, as in "
                f"the index, got {here.get(key)!r}. Load the same model, or build the index again."
            )


def _checked(scores: Any, shape: tuple[int, ...], name: str) -> NDArray[np.float32]:
    array = np.asarray(scores)
    if array.shape != shape:
        raise SimilarityError(
            f"provider {name!r}: expected scores of shape {shape}, got {array.shape}."
        )
    rounded: NDArray[np.float32] = array.astype(np.float32, copy=False)
    if not np.isfinite(rounded).all():
        raise SimilarityError(f"provider {name!r}: expected finite scores, got NaN or infinity.")
    return rounded
