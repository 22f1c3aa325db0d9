"""Both models called BLIP4CIR behind dafm's contract: images and texts to NumPy, in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features, Similarity
from dafm_core.errors import ProviderError
from dafm_core.wrapping.decoding import ImageDecoder
from dafm_core.wrapping.inference import Settings, exact, rows_by_image
from dafm_core.wrapping.target_pad import TargetPad
from dafm_plugin_blip4cir.model import BiDirectional, ImageEncoder, ImageGrounded, Text
from dafm_plugin_blip4cir.text import Tokenizer, mark_captions, mark_forward


def _decoder(images: ImageEncoder, settings: Settings) -> tuple[ImageDecoder, str]:
    transform = TargetPad(images.sizes.image_size)
    return ImageDecoder(transform, workers=settings.workers), transform.fingerprint


class Blip4CirProvider:
    """The image-grounded model, loaded; features are unit vectors (n, D).

    Parameters
    ----------
    model : ImageGrounded
        With its weights.
    tokenizer : Tokenizer
        Texts to ids.
    settings : Settings
        How to compute.
    fingerprint : mapping of str to str
        What decides the output; the preprocessing is added here.
    """

    def __init__(
        self,
        model: ImageGrounded,
        tokenizer: Tokenizer,
        settings: Settings,
        fingerprint: Mapping[str, str],
    ) -> None:
        self.model = model.to(settings.device).eval()
        self.tokenizer, self.settings = tokenizer, settings
        self.decode, preprocessing = _decoder(model.images, settings)
        self.fingerprint = {**fingerprint, "preprocessing": preprocessing}

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return one vector for each image, shape (n, D)."""
        decoded, run = self.decode(images), self.settings
        features = np.empty((len(decoded), self.model.images.sizes.n_features), dtype=np.float32)
        with exact():
            for part in run.batches(len(decoded)):
                vectors = self.model.encode_gallery(run.normalised(decoded[part]))
                features[part] = vectors.cpu().numpy()
        return features

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return one vector for each reference and text, shape (n, D).

        Each distinct reference passes the image encoder once.

        Raises
        ------
        ProviderError
            If a text has more tokens than the model has positions; nothing is cut.
        """
        ids, mask = self.tokenizer([query.text for query in queries])
        rows, run = rows_by_image([query.reference for query in queries]), self.settings
        images, decoded = list(rows), self.decode(list(rows))
        features = np.empty((len(queries), self.model.images.sizes.n_features), dtype=np.float32)
        with exact():
            for part in run.batches(len(images)):
                tokens = self.model.images(run.normalised(decoded[part]))  # (B, T, W)
                owner = [(i, row) for i, image in enumerate(images[part]) for row in rows[image]]
                for few in run.batches(len(owner)):
                    image, at = (list(column) for column in zip(*owner[few], strict=True))
                    vectors = self.model.encode_query(tokens[image], _text(run, ids[at], mask[at]))
                    features[at] = vectors.cpu().numpy()
        return features

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return the cosine of each pair, shape (n_queries, n_gallery)."""
        return np.asarray(queries @ gallery.T)


class Blip4CirBiProvider:
    """BLIP4CIR+Bi, loaded; parameters as for :class:`Blip4CirProvider`, and ``captions``.

    Raw image features (1 KB an image) are kept: an image serves as candidate and as reference.
    """

    def __init__(
        self,
        model: BiDirectional,
        tokenizer: Tokenizer,
        settings: Settings,
        fingerprint: Mapping[str, str],
        *,
        captions: str,
    ) -> None:
        self.model = model.to(settings.device).eval()
        self.tokenizer, self.settings, self.captions = tokenizer, settings, captions
        self.decode, preprocessing = _decoder(model.images, settings)
        self.fingerprint = {**fingerprint, "preprocessing": preprocessing}
        self._raw: dict[ImageRef, Tensor] = {}

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return one vector for each image, shape (n, D)."""
        with exact():
            features: Features = normalize(self.image_features(images), dim=-1).cpu().numpy()
        return features

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return one vector for each reference and text, shape (n, D).

        Texts are marked, and cut to 77 tokens, as the model was trained.

        Raises
        ------
        ProviderError
            If ``captions=lines`` and a text has not exactly two lines.
        """
        text = self.text_features(self.prepare([query.text for query in queries]))
        with exact():
            composed = self.model.compose(
                self.image_features([query.reference for query in queries]), text
            )
            features: Features = composed.cpu().numpy()
        return features

    def prepare(self, texts: Sequence[str]) -> list[str]:
        """Return texts as the tokeniser gets them."""
        if self.captions == "one":
            return [mark_forward(text) for text in texts]
        for text in texts:
            if text.count("\n") != 1:
                raise ProviderError(
                    f"{self.fingerprint['model']}: captions=lines: expected two captions, one a "
                    f"line, got {text[:60]!r}. Leave out captions=lines for single texts."
                )
        return [mark_captions(text) for text in texts]

    def image_features(self, images: Sequence[ImageRef]) -> Tensor:
        """Return the features of images before normalisation, (n, D)."""
        if new := [image for image in dict.fromkeys(images) if image not in self._raw]:
            decoded, run = self.decode(new), self.settings
            with exact():
                for part in run.batches(len(new)):
                    tokens = self.model.images(run.normalised(decoded[part]))
                    self._raw |= zip(new[part], self.model.images.project(tokens), strict=True)
        return torch.stack([self._raw[image] for image in images])

    def text_features(self, prepared: Sequence[str]) -> Tensor:
        """Return the features of prepared texts before normalisation, (n, D)."""
        ids, mask = self.tokenizer(prepared)
        run = self.settings
        with exact():
            parts = [
                self.model.texts(_text(run, ids[part], mask[part]))
                for part in run.batches(len(ids))
            ]
            return torch.cat(parts)

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return the cosine of each pair, shape (n_queries, n_gallery)."""
        return np.asarray(queries @ gallery.T)


def _text(run: Settings, ids: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> Text:
    """Return a batch without the columns that are padding in all of its rows."""
    longest = int(mask.sum(axis=1).max())
    return run.tensor(ids[:, :longest]), run.tensor(mask[:, :longest])
