"""The encode loop of a wrapped network: images and queries to features, a batch at a time.

A plugin writes a :class:`Network` and a loader that checks files; :class:`TorchEncoder` makes a
provider of them. Here: decoding, batches, reading each distinct reference once, rows in the order
asked for, exact arithmetic, NumPy at the boundary. Not here: settings and devices
(``inference.py``), flags (``precision.py``), files (``checkpoints.py``), and any model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features, Similarity
from dafm_core.wrapping.decoding import ImageDecoder
from dafm_core.wrapping.inference import Settings, rows_by_image
from dafm_core.wrapping.precision import exact

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

DECODED_AT_ONCE = 256
"""Images: enough to keep several workers busy, and 40 MB of pixels at 224 x 224."""

COMPARED_AT_ONCE = 4096
"""Candidates: their products with 32 vectors of 64 queries are 32 MB."""

Reader: TypeAlias = "Callable[[Tensor], Tensor]"
"""Pixels -> what both sides need of images."""

Tokens: TypeAlias = tuple[NDArray[np.int64], ...]
"""Arrays with one row per text, such as ids alone, or ids and mask."""


class Network(Protocol):
    """What a model must be able to do; usually an ``nn.Module`` with these three methods.

    Tensors are on the device of the settings, and results may have any floating-point type. A
    network may have ``read_reference(pixels)``, where it reads an image otherwise as a reference
    than as a candidate, and ``query_shape``, where a query's features are not one vector of the
    last dimension of ``row_shape``.
    """

    row_shape: tuple[int, ...]
    """Shape of one candidate's features."""

    def read(self, pixels: Tensor) -> Tensor:
        """Return what both sides need of images, (B, 3, S, S) -> (B, ...)."""
        ...

    def candidate(self, seen: Tensor) -> Tensor:
        """Return features of gallery images that were read, (B, ...) -> (B, *row_shape)."""
        ...

    def query(self, seen: Tensor, *text: Tensor) -> Tensor:
        """Return features of queries, usually (B, D), from references that were read and tokens."""
        ...

    def to(self, device: torch.device) -> Self:
        """Move the weights."""
        ...

    def eval(self) -> Self:
        """Switch training-only parts off."""
        ...


class Preprocessing(Protocol):
    """Pillow image -> bytes of shape (3, S, S), in RGB, or floats: see :class:`TorchEncoder`."""

    @property
    def fingerprint(self) -> str:
        """What decides the pixels, for a passport."""
        ...

    def __call__(self, image: Image) -> NDArray[Any]:
        """Return the pixels of one image."""
        ...


class Tokenizer(Protocol):
    """Texts -> token arrays."""

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Return the tokens, or raise ProviderError for a text the model cannot read."""
        ...


N = TypeVar("N", bound=Network)


class TorchEncoder(Generic[N]):
    """A network behind dafm's contract, as an encoding provider.

    Parameters
    ----------
    network : Network
        With its weights; moved to the device of the settings.
    tokenizer : callable
        Texts -> tuple of arrays with one row per text; the network gets rows of them.
    preprocessing : callable
        Pillow image -> array with a ``fingerprint``: bytes of shape (3, S, S), which are scaled as
        CLIP's and BLIP's input is, or float32 of any shape, which the network gets as they are.
    settings : Settings
        Where to compute, and how much at a time.
    fingerprint : mapping of str to str
        What decides the output; the preprocessing is added here.
    keep_read : bool, default=False
        Whether to keep what ``read`` gives of every image, so that one that is a candidate and a
        reference is read once. For networks that read a vector, not a grid of positions, and the
        same on both sides.

    Attributes
    ----------
    fingerprint : dict of str to str
    """

    geometry = "dot"

    def __init__(
        self,
        network: N,
        *,
        tokenizer: Tokenizer,
        preprocessing: Preprocessing,
        settings: Settings,
        fingerprint: Mapping[str, str],
        keep_read: bool = False,
    ) -> None:
        self.network: N = network.to(settings.device).eval()
        self.tokenizer, self.settings = tokenizer, settings
        self.decode = ImageDecoder(preprocessing, workers=settings.workers)
        self.fingerprint = {**fingerprint, "preprocessing": preprocessing.fingerprint}
        self._read_reference: Reader = getattr(self.network, "read_reference", self.network.read)
        self._query_shape: tuple[int, ...] = getattr(
            self.network, "query_shape", self.network.row_shape[-1:]
        )
        self._kept: dict[ImageRef, Tensor] | None = {} if keep_read else None

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return one row of features per image, shape (n, *row_shape), float32.

        Raises
        ------
        ImageError
            Names the first image that is missing or cannot be decoded.
        """
        features = np.empty((len(images), *self.network.row_shape), np.float32)
        with exact():
            for batch, seen in self._read(images, self.network.read):
                features[batch] = to_numpy(self.network.candidate(seen))
        return features

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return one row of features per query, usually of shape (n, D), float32.

        Each distinct reference is decoded and read once.

        Raises
        ------
        DatasetError
            If a query has not exactly one reference image.
        ProviderError
            If a text cannot be read; this is found before any image is opened.
        ImageError
            Names the first reference that is missing or cannot be decoded.
        """
        features = np.empty((len(queries), *self._query_shape), np.float32)
        if not queries:
            return features  # tokenisers differ in what they make of no text at all
        rows = rows_by_image([query.reference for query in queries])
        tokens = self.tokenizer([query.text for query in queries])
        references = list(rows)
        with exact():
            for batch, seen in self._read(references, self._read_reference):
                # Place of the reference in this batch, row of the query: one pair per query.
                pairs = [
                    (i, row) for i, image in enumerate(references[batch]) for row in rows[image]
                ]
                for group in self.settings.batches(len(pairs)):
                    places, at = (list(column) for column in zip(*pairs[group], strict=True))
                    text = [self.settings.tensor(column[at]) for column in tokens]
                    features[at] = to_numpy(self.network.query(seen[places], *text))
        return features

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return inner products, (n_queries, n_gallery): cosines where features are unit vectors.

        Of several vectors of a candidate, (n_gallery, T, D), or a query the best pair counts.
        """
        if gallery.ndim == 2:
            return np.asarray(queries @ gallery.T, np.float32)
        if queries.ndim == 2:
            queries = queries[:, None]
        best = np.empty((len(queries), len(gallery)), np.float32)
        for start in range(0, len(gallery), COMPARED_AT_ONCE):
            columns = slice(start, start + COMPARED_AT_ONCE)
            best[:, columns] = _best_pairs(queries, gallery[columns])
        return best

    def pixels(self, images: Sequence[ImageRef]) -> Tensor:
        """Return the input of the network, (n, 3, S, S) float32, for comparing it with another."""
        return self._input(self.decode(images))

    def _input(self, decoded: NDArray[Any]) -> Tensor:
        is_bytes = decoded.dtype == np.uint8
        return self.settings.normalised(decoded) if is_bytes else self.settings.tensor(decoded)

    def _read(self, images: Sequence[ImageRef], read: Reader) -> Iterator[tuple[slice, Tensor]]:
        """Yield consecutive slices of images, each with what the network reads of them."""
        if self._kept is None:
            yield from self._read_anew(images, read)
            return
        import torch

        new = [image for image in dict.fromkeys(images) if image not in self._kept]
        for batch, seen in self._read_anew(new, read):
            self._kept.update(zip(new[batch], seen, strict=True))
        for batch in self.settings.batches(len(images)):
            yield batch, torch.stack([self._kept[image] for image in images[batch]])

    def _read_anew(
        self, images: Sequence[ImageRef], read: Reader
    ) -> Iterator[tuple[slice, Tensor]]:
        for first in range(0, len(images), DECODED_AT_ONCE):
            decoded = self.decode(images[first : first + DECODED_AT_ONCE])
            for batch in self.settings.batches(len(decoded)):
                seen = read(self._input(decoded[batch]))
                yield slice(first + batch.start, first + batch.stop), seen


def _best_pairs(queries: Features, gallery: Features) -> Similarity:
    """Return the largest inner product of every query, (Q, S, D), and candidate, (N, T, D)."""
    rows = queries.reshape(-1, queries.shape[-1])  # (Q * S, D)
    shape = (*queries.shape[:2], len(gallery))
    best: Similarity | None = None
    for vector in range(gallery.shape[1]):
        products = (rows @ gallery[:, vector].T).reshape(shape)  # (Q, S, N)
        of_query = products[:, 0] if queries.shape[1] == 1 else products.max(axis=1)
        best = of_query if best is None else np.maximum(best, of_query, out=best)
    assert best is not None, "a candidate has vectors"
    return best


def to_numpy(features: Tensor) -> NDArray[Any]:
    """Return a tensor of any floating-point type and device as a float32 array."""
    array: NDArray[Any] = features.float().cpu().numpy()
    return array
