"""How the reference images of a query become one vector, for providers that add it to the text.

What the vector of a single image is, each provider knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query


@dataclass(frozen=True)
class ReferenceMeans:
    """The distinct reference images of some queries, and each image's share in a query's mean.

    Parameters
    ----------
    images : tuple of ImageRef
        In order of appearance; to have their vectors computed once each.
    query_rows, image_rows : ndarray of int64
        One entry per query and reference: row of the query, row in ``images``.
    """

    images: tuple[ImageRef, ...]
    query_rows: NDArray[np.int64]
    image_rows: NDArray[np.int64]

    @classmethod
    def of(cls, queries: Sequence[Query]) -> ReferenceMeans:
        """Return the references of queries; images of equal id are one image."""
        images = {image.id: image for query in queries for image in query.references}
        row_of = {image_id: row for row, image_id in enumerate(images)}
        n_references = [len(query.references) for query in queries]
        image_rows = [row_of[image.id] for query in queries for image in query.references]
        return cls(
            tuple(images.values()),
            np.repeat(np.arange(len(queries)), n_references),
            np.array(image_rows, np.int64),
        )

    def weights(self, known: NDArray[np.bool_], n_queries: int) -> NDArray[np.float32]:
        """Return the weight of each entry in its query's mean.

        Parameters
        ----------
        known : ndarray of shape (len(images),), bool
            Whether there is anything to say of an image. One of which nothing is known takes no
            part in the mean, as if it were not given.
        n_queries : int

        Returns
        -------
        ndarray of shape (len(query_rows),), float32
            One over the number of a query's known references; 0 for unknown ones.
        """
        takes_part = known[self.image_rows]
        counts = np.bincount(self.query_rows[takes_part], minlength=n_queries)
        return (takes_part / np.maximum(counts, 1)[self.query_rows]).astype(np.float32)

    def mean(self, vectors: NDArray[np.float32], n_queries: int) -> NDArray[np.float32]:
        """Return each query's mean of its references' vectors, (n_queries, D).

        Parameters
        ----------
        vectors : ndarray of shape (len(images), D), float32
            Rows of zeros stand for images of which nothing is known.
        n_queries : int
        """
        weights = self.weights(np.any(vectors, axis=1), n_queries)
        means = np.zeros((n_queries, vectors.shape[1]), np.float32)
        np.add.at(means, self.query_rows, weights[:, None] * vectors[self.image_rows])
        return means
