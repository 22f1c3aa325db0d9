"""The providers ``clip4cir`` and ``clip4cir-sum``: options to a model, items to features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features, Similarity
from dafm_core.wrapping.checkpoints import sha256_of
from dafm_core.wrapping.decoding import ImageDecoder
from dafm_core.wrapping.target_pad import TargetPad
from dafm_plugin_clip4cir.clip.runtime import Settings, cosine, distinct, exact, to_numpy
from dafm_plugin_clip4cir.clip.tokenizer import ClipTokenizer
from dafm_plugin_clip4cir.loading import check_pair, load_clip, load_combiner
from dafm_plugin_clip4cir.model import SumQuery


@dataclass(frozen=True, kw_only=True)
class Clip4CirProvider:
    """CLIP4CIR behind dafm's contract; :func:`load` builds it.

    Parameters
    ----------
    vision, text : nn.Module
        The two towers of CLIP.
    query : nn.Module
        Raw image and text features, (B, D) each -> unit vectors (B, D).
    tokenizer : ClipTokenizer
        Texts -> ids of shape (n_texts, context_length).
    decoder : ImageDecoder
        Images -> bytes of shape (n_images, 3, R, R).
    settings : Settings
        Where and in what portions to compute.
    fingerprint : mapping of str to str
        What decides the output.
    """

    vision: nn.Module
    text: nn.Module
    query: nn.Module
    tokenizer: ClipTokenizer
    decoder: ImageDecoder
    settings: Settings
    fingerprint: Mapping[str, str]

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return unit vectors of shape (n_images, D), float32."""
        return to_numpy(normalize(self.image_features(images), dim=-1))

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return unit vectors (n_queries, D), float32; a repeated image is encoded once."""
        ids = self.tokenizer(
            [query.text for query in queries]
        )  # first: a text that is too long is found before any work
        unique, place = distinct([query.reference for query in queries])
        image = self.image_features(unique)[torch.from_numpy(place).to(self.settings.device)]
        text = self.text_features(ids)
        with exact():
            parts = [self.query(image[b], text[b]) for b in self.settings.batches(len(ids))]
        return to_numpy(torch.cat(parts))

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return cosines in [-1, 1], shape (n_queries, n_gallery)."""
        return cosine(queries, gallery)

    def image_features(self, images: Sequence[ImageRef]) -> Tensor:
        """Return raw image features (n_images, D), float32: not normalised."""
        parts = []
        with exact():
            for batch in self.settings.batches(len(images)):
                output = self.vision(self.settings.pixels(self.decoder(images[batch])))
                features = output if isinstance(output, Tensor) else output.image_embeds
                parts.append(features.float())
        return torch.cat(parts)

    def text_features(self, ids: NDArray[np.int64]) -> Tensor:
        """Return raw text features (n_texts, D), float32: not normalised."""
        tokens = torch.from_numpy(ids).to(self.settings.device)
        with exact():
            parts = [
                self.text(input_ids=tokens[batch]).text_embeds.float()
                for batch in self.settings.batches(len(ids))
            ]
        return torch.cat(parts)


def load(
    *,
    checkpoint: Path,
    vocabulary: str,
    combiner: Path | None = None,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 16,
    workers: int = 0,
    float16_rounding: bool = False,
) -> Clip4CirProvider:
    """Return CLIP4CIR: with a Combiner the full method, without one the first stage alone.

    Parameters
    ----------
    checkpoint, combiner : Path
        The released files, ``{"epoch", "CLIP"}`` and ``{"epoch", "Combiner"}``.
    vocabulary : str
        As :func:`~dafm_plugin_clip4cir.clip.tokenizer.read_merges` takes it.
    device : str, optional
        A GPU where there is one, else the CPU.
    dtype : {"float32", "float16", "bfloat16"}, default="float32"
        What the towers compute in; the published numbers are float32.
    batch_size : int, default=16
        Images or texts in one pass.
    workers : int, default=0
        Processes that decode images.
    float16_rounding : bool, default=False
        Round weights as the authors' GPU runs did.

    Raises
    ------
    OptionError
        If an option cannot be used, or the two files are of different datasets by their names.
    ProviderError
        If a file is missing, damaged or of another model.
    """
    where = "clip4cir" if combiner else "clip4cir-sum"
    settings = Settings.check(device, dtype, batch_size, workers, where)
    if combiner:
        check_pair(Path(checkpoint), Path(combiner), where)
    clip = load_clip(
        Path(checkpoint), where, dtype=settings.dtype, float16_rounding=float16_rounding
    )
    width = clip.text.embed_dim
    query = load_combiner(Path(combiner), where, embed_dim=width) if combiner else SumQuery()
    tokenizer = ClipTokenizer.for_model(
        vocabulary,
        n_tokens=clip.text.n_tokens,
        context_length=clip.text.context_length,
        where=where,
    )
    transform = TargetPad(clip.vision.resolution, deep="saturate")
    fingerprint = {
        "checkpoint_sha256": sha256_of(Path(checkpoint)),
        "combiner_sha256": sha256_of(Path(combiner)) if combiner else "none, sum of features",
        "preprocessing": transform.fingerprint,
        "dtype": dtype,
        "float16_rounding": str(float16_rounding).lower(),
    }
    return Clip4CirProvider(
        vision=clip.vision.model.to(settings.device),
        text=clip.text.model.to(settings.device),
        query=query.to(settings.device),
        tokenizer=tokenizer,
        decoder=ImageDecoder(transform, workers=workers),
        settings=settings,
        fingerprint=fingerprint,
    )
