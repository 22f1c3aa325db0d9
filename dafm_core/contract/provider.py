"""What a frozen CIR model computes for dafm: the two kinds of provider.

The boundary type is NumPy: core never sees a model's framework. How a provider is described and
listed is in ``descriptions.py``; nothing here loads or scores anything (see ``catalog.py`` and
``scoring/``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query

Features: TypeAlias = NDArray[np.float32]
"""One item per row, any trailing shape: ``(n, D)`` vectors, ``(n, T, D)`` tokens, ``(n, 0)`` for
nothing.
"""

Similarity: TypeAlias = NDArray[np.float32]
"""``(n_queries, n_gallery)``, finite, higher is better; rows and columns in the order given."""


@runtime_checkable
class SimilarityProvider(Protocol):
    """The least a frozen model must offer: similarities of queries against the whole gallery.

    A provider may also have ``fingerprint``, a mapping of strings that decides its output
    (checkpoint sha256, preprocessing, text template); it is written into the passport and keys the
    cache of gallery features. It may have ``references``, as ``ProviderInfo`` has, where that
    depends on its options or nothing describes it: ``"one"`` by default, ``"any"`` or ``"none"``.
    """

    def similarity(self, queries: Sequence[Query], gallery: Sequence[ImageRef]) -> Similarity:
        """Return scores of shape ``(len(queries), len(gallery))``."""
        ...


@runtime_checkable
class EncodingProvider(Protocol):
    """A model that factors; core then batches, caches, shows progress and resumes.

    Core calls ``encode_gallery`` and ``encode_queries`` on blocks; a provider splits a block
    further by its own ``batch_size`` where its memory asks for it.

    It may have ``geometry = "dot"``: its similarity *is* the inner product of its features, (n, D),
    and of a candidate with several vectors, (n, T, D), the largest. A gallery index can then search
    them, and knows the statistics of a row without computing it. Conformance checks that it is so.
    """

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return one row of features per image."""
        ...

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return one row of features per query."""
        ...

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return scores of shape ``(len(queries), len(gallery))`` from features."""
        ...


@runtime_checkable
class PairProvider(Protocol):
    """A verifier or re-ranker: it scores single pairs, and can afford a shortlist only.

    Which candidates it is asked about is decided by others, see ``scoring/shortlists.py``. What it
    is not asked about stays unknown, which no fusion takes for a low score.
    """

    def score_pairs(
        self, queries: Sequence[Query], candidates: Sequence[Sequence[ImageRef]]
    ) -> Sequence[NDArray[np.float32]]:
        """Return one array of scores per query, in the order of its candidates.

        Finite, higher is better; scores of different queries need not be on one scale.
        """
        ...


Provider: TypeAlias = SimilarityProvider | EncodingProvider | PairProvider


def is_pair(provider: Provider) -> TypeGuard[PairProvider]:
    """Whether the provider scores pairs, and so needs a shortlist."""
    return isinstance(provider, PairProvider) and not hasattr(provider, "similarity")


def has_dot_geometry(provider: Provider) -> bool:
    """Whether the provider says that its similarity is the inner product of its features."""
    return is_encoding(provider) and getattr(provider, "geometry", "") == "dot"


def is_encoding(provider: Provider) -> bool:
    """Whether the provider factors into gallery and query features."""
    return isinstance(provider, EncodingProvider)
