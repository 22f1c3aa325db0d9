"""A synthetic gallery of any size with planted targets: what timings of live search are of.

Nothing in it is real. Each model sees a target through noise of its own and of all models
together, and some images are scored high whatever is asked (hubs).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.ground.ids import Ids

NOISE = (1.0, 1.1, 1.2, 1.3)
"""How far each model's idea of the target is off, relative to the target itself."""
SHARED = 0.6
"""Part of that error which all models make together."""
HUB = 0.3
"""Spread of what a candidate is scored whatever is asked, relative to that of its score."""
N_KINDS = 10_000
"""Images of one kind look alike: every so many are of the same."""
DECAY = 0.5
"""Directions count less and less: the i-th by (i + 1) to minus this, as in features of models."""
LOOKS = 0.5
"""Part of what an image is that it has from its kind."""
BLOCK = 512
"""Images whose vectors are drawn together."""


class Planted:
    """A model of inner products; its features follow from a seed, an id's number and a query's."""

    geometry = "dot"

    def __init__(self, number: int, *, width: int = 256, seed: int = 0) -> None:
        self.number, self.width, self.seed = number, width, seed
        self.fingerprint = {"planted": f"3/{seed}/{number}/{width}"}
        rng = np.random.default_rng([seed, number])
        self._turn = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)
        spectrum = np.arange(1, width + 1) ** -DECAY
        self._spectrum = (spectrum / np.linalg.norm(spectrum)).astype(np.float32)
        # of the score of a query, which is a target and errors, over images
        self._spread = np.sqrt((1 + NOISE[number] ** 2) * (self._spectrum**4).sum())
        self._kinds = self._drawn(10, N_KINDS)
        self._block = (-1, self._kinds)

    def encode_gallery(self, images: Sequence[ImageRef]) -> NDArray[np.float32]:
        """Return the latent vectors of images, turned, their last number being what a hub has."""
        latent = np.stack([self._latent(int(image.id[1:])) for image in images])
        rng = np.random.default_rng([self.seed, self.number, int(images[0].id[1:])])
        latent[:, -1] = HUB * self._spread * rng.standard_normal(len(latent))
        return latent @ self._turn

    def encode_queries(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        """Return the target's latent vector with errors; the text names it."""
        rows = []
        for query in queries:
            target = int(query.text.split()[-1])
            common = self._drawn(7, 1, target)[0]
            own = self._drawn(8, 1, self.number, target)[0]
            error = SHARED * common + np.sqrt(1 - SHARED**2) * own
            row = self._latent(target) + NOISE[self.number] * error
            row[-1] = 1
            rows.append(row)
        return np.asarray(rows, np.float32) @ self._turn

    def similarity(
        self, queries: NDArray[np.float32], gallery: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return inner products."""
        return queries @ gallery.T

    def _latent(self, image: int) -> NDArray[np.float32]:
        block, row = divmod(image, BLOCK)
        if self._block[0] != block:
            self._block = (block, self._drawn(9, BLOCK, block))
        kind = self._kinds[image % N_KINDS]
        own = self._block[1][row]
        return np.float32(np.sqrt(LOOKS)) * kind + np.float32(np.sqrt(1 - LOOKS)) * own

    def _drawn(self, *key: int) -> NDArray[np.float32]:
        """Return vectors of length about 1; the second number of the key says how many."""
        rng = np.random.default_rng([self.seed, *key])
        return rng.standard_normal((key[1], self.width), np.float32) * self._spectrum


def planted_dataset(n_images: int, n_queries: int, *, first: int = 0, seed: int = 0) -> Dataset:
    """Return queries of targets drawn at random."""
    rng = np.random.default_rng([seed, first])
    targets = rng.integers(0, n_images, n_queries)
    rows = [
        {
            "query_id": f"q{first + q}",
            "references": [],
            "text": f"find {target}",
            "targets": [f"i{target:07d}"],
        }
        for q, target in enumerate(targets.tolist())
    ]
    return Dataset(
        protocol=f"planted-{n_images}",
        gallery_ids=Ids(f"i{i:07d}" for i in range(n_images)),
        queries=query_frame(rows, where="planted"),
    )
