"""Providers that match words: BM25 and TF-IDF over all captions of an image as one document.

Word statistics come from the whole captions file, so a score depends neither on the gallery nor on
the other queries. Neither provider has dense features worth caching: both score directly.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Similarity
from dafm_core.errors import DatasetError
from dafm_core.wrapping.caption_file import CaptionFile
from dafm_core.wrapping.references import ReferenceMeans


class _Documents:
    """One document per captioned image, then an empty one that stands for all others."""

    def __init__(self, path: str | Path) -> None:
        self.file = CaptionFile.read(path)
        self.texts = [" ".join(captions) for captions in self.file.captions.values()]
        self._rows = {image_id: row for row, image_id in enumerate(self.file.captions)}

    def rows(self, images: Sequence[ImageRef], *, role: str) -> NDArray[np.int64]:
        """Return each image's document, ``len(texts)`` where it has no captions."""
        self.file.of(images, role=role)  # reports images without captions
        nowhere = len(self.texts)
        return np.array([self._rows.get(image.id, nowhere) for image in images], dtype=np.int64)

    def no_words(self) -> DatasetError:
        return DatasetError(
            f"{self.file.path}: expected words of two letters or more in the captions, got none."
        )


class Bm25Captions:
    """BM25 of the modification text in each candidate's captions; the reference plays no part.

    An image without captions scores 0, like every candidate that shares no word with the text.

    Parameters
    ----------
    captions : path
        JSON object: image id -> list of captions.
    k1, b : float
        Saturation and length correction of Robertson's formula.

    References
    ----------
    Robertson et al., Okapi at TREC-3, 1994; Lu, BM25S, arXiv 2407.03618 (the implementation).
    """

    def __init__(self, *, captions: str | Path, k1: float = 1.2, b: float = 0.75) -> None:
        import bm25s

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it logs at every level by default
        self._documents = _Documents(captions)
        words = self._tokenize(self._documents.texts)
        if not any(words):
            raise self._documents.no_words()
        self._index = bm25s.BM25(method="robertson", k1=k1, b=b)
        self._index.index(words, show_progress=False)
        self.fingerprint = {
            "captions_sha256": self._documents.file.sha256,
            "method": f"BM25 robertson k1={k1} b={b}, stop words english_plus, bm25s "
            f"{bm25s.__version__}",
            "text": "{text}",
        }

    def similarity(self, queries: Sequence[Query], gallery: Sequence[ImageRef]) -> Similarity:
        """Return BM25 scores, (len(queries), len(gallery)), >= 0."""
        columns = self._documents.rows(gallery, role="gallery image")
        scores = np.zeros((len(queries), len(gallery)), np.float32)
        known = self._index.vocab_dict
        for row, words in enumerate(self._tokenize([query.text for query in queries])):
            if matched := [word for word in words if word in known]:
                own = np.append(self._index.get_scores(matched), np.float32(0))
                scores[row] = own[columns]
        return scores

    @staticmethod
    def _tokenize(texts: list[str]) -> list[list[str]]:
        import bm25s

        words: list[list[str]] = bm25s.tokenize(
            texts, stopwords="english_plus", return_ids=False, show_progress=False
        )
        return words


class TfidfCaptions:
    """Cosine of TF-IDF vectors: the text plus a share of the reference's captions.

    A query may have any number of references: of several their mean is added, without any the text
    stands alone. An image without captions scores 0 as a candidate and is left out as a reference.

    Parameters
    ----------
    captions : path
        JSON object: image id -> list of captions.
    reference_weight : float
        Of the mean of the references' unit vectors, added to the text's.
    """

    def __init__(self, *, captions: str | Path, reference_weight: float = 0.5) -> None:
        import sklearn
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.reference_weight = reference_weight
        self._documents = _Documents(captions)
        self._vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float32)
        try:
            self._vectorizer.fit(self._documents.texts)
        except ValueError:
            raise self._documents.no_words() from None
        self._vectors = self._vectorizer.transform([*self._documents.texts, ""])  # sparse (n, V)
        self.fingerprint = {
            "captions_sha256": self._documents.file.sha256,
            "method": f"TF-IDF cosine, sublinear counts, scikit-learn {sklearn.__version__}",
            "text": f"{{text}} + {reference_weight} {{captions of the reference}}",
        }

    def similarity(self, queries: Sequence[Query], gallery: Sequence[ImageRef]) -> Similarity:
        """Return cosines, (len(queries), len(gallery)), in [-1, 1]."""
        from sklearn.preprocessing import normalize

        if not queries or not gallery:
            return np.zeros((len(queries), len(gallery)), np.float32)
        candidates = self._vectors[self._documents.rows(gallery, role="gallery image")]
        texts = self._vectorizer.transform([query.text for query in queries])
        composed = normalize(texts + self.reference_weight * self._references(queries))
        scores: Similarity = (composed @ candidates.T).toarray().astype(np.float32)
        return scores

    def _references(self, queries: Sequence[Query]) -> Any:
        """Return the mean vector of each query's references, sparse, (len(queries), V)."""
        from scipy.sparse import csr_array  # type: ignore[import-untyped]

        means = ReferenceMeans.of(queries)
        rows = self._documents.rows(means.images, role="reference image")
        weights = means.weights(rows < len(self._documents.texts), len(queries))
        shape = (len(queries), len(means.images))
        mixing = csr_array((weights, (means.query_rows, means.image_rows)), shape=shape)
        return mixing @ self._vectors[rows]
