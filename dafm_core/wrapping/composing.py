"""Queries of images and a text as one vector each, for models that embed both: four ways to do it.

A plugin writes an :class:`Embedder`; :class:`ComposedEncoder` makes a provider of it. What a model
does with one text or image, and how its files are loaded, each plugin knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np

from dafm_core.contract.descriptions import References
from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features, Similarity
from dafm_core.errors import DatasetError, OptionError
from dafm_core.ground.normalize import unit_rows
from dafm_core.wrapping.references import ReferenceMeans

Compose: TypeAlias = Literal["joint", "sum", "text", "image"]
COMPOSITIONS: Final[tuple[Compose, ...]] = ("joint", "sum", "text", "image")
"""``joint`` gives the model references and text as one input; ``sum`` adds the references' vector,
times a weight, to the text's; ``text`` and ``image`` are those alone.
"""


class Embedder(Protocol):
    """A model that makes vectors of texts, of images and, if it can, of both together."""

    def texts(self, texts: Sequence[str]) -> Features:
        """Return the vector of each text of a query, (n, D)."""
        ...

    def images(self, images: Sequence[ImageRef]) -> Features:
        """Return the vector of each image, candidate or reference alike, (n, D).

        Zeros where nothing is known of an image.
        """
        ...

    def joint(self, queries: Sequence[Query]) -> Features:
        """Return the vector of each query's references and text as one input, (n, D)."""
        ...


class ComposedEncoder:
    """An embedder behind dafm's contract, as an encoding provider.

    Parameters
    ----------
    embedder : Embedder
    compose : {"joint", "sum", "text", "image"}
    weight : float
        Of the references' mean vector beside the text's, for ``sum``.
    cosine : bool, default=True
        Whether vectors are scaled to length 1, before they are added and after; else the model's
        similarity is the inner product of its vectors as they are.
    raw_parts : bool, default=False
        Whether ``sum`` adds the vectors as the model gives them, and scales only their sum.
    fingerprint : mapping of str
        What decides the embeddings; how they are composed is added here.
    where : str
        Start of error messages: the provider.

    Attributes
    ----------
    geometry : "dot"
        The similarity is the inner product of the features.
    references : {"any", "none"}
        How many reference images the composition reads.
    """

    geometry: Final = "dot"

    def __init__(
        self,
        embedder: Embedder,
        *,
        compose: Compose,
        weight: float,
        fingerprint: Mapping[str, str],
        where: str,
        cosine: bool = True,
        raw_parts: bool = False,
    ) -> None:
        if compose not in COMPOSITIONS:
            known = ", ".join(COMPOSITIONS)
            raise OptionError(f"{where}: option 'compose': expected one of {known}, got {compose}.")
        if not math.isfinite(weight):
            raise OptionError(f"{where}: option 'weight': expected a finite number, got {weight}.")
        self.embedder, self.compose, self.weight, self.cosine = embedder, compose, weight, cosine
        self._raw_parts = raw_parts
        raw = "raw " if raw_parts else ""
        added = f"{raw}text + {weight:g} {raw}references"
        self.references: References = "none" if compose == "text" else "any"
        self.fingerprint = {
            **fingerprint,
            "compose": added if compose == "sum" else compose,
            "similarity": "cosine" if cosine else "dot",
        }
        self._where = where

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return one vector per image, (n, D); zeros where nothing is known of one."""
        return self._scaled(self.embedder.images(images))

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return one vector per query, (n, D).

        Several references count by the mean of their vectors, save in a joint input; without any,
        the text stands alone.

        Raises
        ------
        DatasetError
            If ``compose`` is ``image`` and a query has no reference.
        """
        if self.compose == "joint":
            return self._scaled(self.embedder.joint(queries))
        if self.compose == "image":
            return self._scaled(self._of_references(queries))
        texts = self.embedder.texts([query.text for query in queries])
        if self.compose == "text":
            return self._scaled(texts)
        means = ReferenceMeans.of(queries)
        vectors = self.embedder.images(means.images)
        if not self._raw_parts:
            texts, vectors = self._scaled(texts), self._scaled(vectors)
        return self._scaled(texts + np.float32(self.weight) * means.mean(vectors, len(queries)))

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return inner products, (n_queries, n_gallery): cosines of vectors of length 1."""
        return np.asarray(queries @ gallery.T, np.float32)

    def _of_references(self, queries: Sequence[Query]) -> Features:
        for query in queries:
            if not query.references:
                raise DatasetError(
                    f"{self._where}: query {query.id!r}: expected a reference image, got none. "
                    "Give --set compose=text, or leave the query out."
                )
        means = ReferenceMeans.of(queries)
        return means.mean(self._scaled(self.embedder.images(means.images)), len(queries))

    def _scaled(self, vectors: Features) -> Features:
        return unit_rows(vectors) if self.cosine else vectors
