"""The provider ``tgcir``: options to a model, items to features."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from dafm_plugin_clip4cir.clip.runtime import Settings, cosine, distinct, exact, to_numpy
from dafm_plugin_clip4cir.clip.tokenizer import ClipTokenizer
from numpy.typing import NDArray
from torch import Tensor

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features, Similarity
from dafm_core.errors import OptionError, closest
from dafm_core.wrapping.checkpoints import sha256_of
from dafm_core.wrapping.decoding import ImageDecoder
from dafm_plugin_tgcir.corrections import clean_caption, read_corrections
from dafm_plugin_tgcir.loading import TgCir, load_tgcir
from dafm_plugin_tgcir.model import pooled
from dafm_plugin_tgcir.preprocessing import CentreSquare

logger = logging.getLogger(__name__)

CLEANINGS = ("none", "fashioniq")
"""What is done to a text: nothing (CIRR), or FashionIQ's clean-up."""


@dataclass(frozen=True, kw_only=True)
class TgCirProvider:
    """TG-CIR behind dafm's contract; :func:`load` builds it.

    Parameters
    ----------
    model : TgCir
        Towers, tokens and composition.
    tokenizer : ClipTokenizer
        Texts -> ids of shape (n_texts, context_length).
    corrections : mapping of str to str, optional
        Spelling corrections of FashionIQ captions; None leaves texts as they are.
    decoder : ImageDecoder
        Images -> bytes of shape (n_images, 3, R, R).
    settings : Settings
        Where and in what portions to compute.
    fingerprint : mapping of str to str
        What decides the output.
    """

    model: TgCir
    tokenizer: ClipTokenizer
    corrections: Mapping[str, str] | None
    decoder: ImageDecoder
    settings: Settings
    fingerprint: Mapping[str, str]

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return unit vectors of shape (n_images, D), float32."""
        return to_numpy(pooled(self.image_tokens(images)))

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return unit vectors (n_queries, D), float32; a repeated image is encoded once."""
        ids = self.token_ids(
            [query.text for query in queries]
        )  # first: a text that is too long is found before any work
        unique, place = distinct([query.reference for query in queries])
        image = self.image_tokens(unique)[torch.from_numpy(place).to(self.settings.device)]
        text = self.text_tokens(ids)
        with exact():
            return to_numpy(self.model.composition(image, text))

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return cosines in [-1, 1], shape (n_queries, n_gallery)."""
        return cosine(queries, gallery)

    def token_ids(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the ids of texts, cleaned where that is wanted: (n_texts, context_length)."""
        if self.corrections is not None:
            texts = [clean_caption(text, self.corrections) for text in texts]
        return self.tokenizer(texts)

    def image_tokens(self, images: Sequence[ImageRef]) -> Tensor:
        """Return global, then local tokens of images: (n_images, P + Q, D), float32."""
        parts = []
        with exact():
            for batch in self.settings.batches(len(images)):
                pixels = self.settings.pixels(self.decoder(images[batch]))
                output = self.model.vision.model(pixels)
                feature, positions = output.image_embeds.float(), output.last_hidden_state.float()
                parts.append(self.model.tokens.of_image(feature, positions))
        return torch.cat(parts)

    def text_tokens(self, ids: NDArray[np.int64]) -> Tensor:
        """Return global, then local tokens of texts: (n_texts, P + Q, D), float32.

        All positions take part, padding included, so there is no attention mask.
        """
        tokens = torch.from_numpy(ids).to(self.settings.device)
        parts = []
        with exact():
            for batch in self.settings.batches(len(ids)):
                output = self.model.text.model(input_ids=tokens[batch])
                feature, positions = output.text_embeds.float(), output.last_hidden_state.float()
                parts.append(self.model.tokens.of_text(feature, positions))
        return torch.cat(parts)


def load(
    *,
    checkpoint: Path,
    vocabulary: str,
    cleaning: str | None = None,
    corrections: Path | None = None,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 32,
    workers: int = 0,
) -> TgCirProvider:
    """Return TG-CIR.

    Parameters
    ----------
    checkpoint : Path
        The released pickled module (read as data, never executed), a state dict, or
        ``{"state_dict": ...}``.
    vocabulary : str
        As :func:`~dafm_plugin_clip4cir.clip.tokenizer.read_merges` takes it.
    cleaning : {"none", "fashioniq"}, optional
        What is done to a text; FashionIQ's clean-up where ``corrections`` is given, else nothing.
    corrections : Path, optional
        Spelling corrections of one FashionIQ category, flat JSON, word -> replacement.
    device : str, optional
        A GPU where there is one, else the CPU.
    dtype : {"float32", "float16", "bfloat16"}, default="float32"
        What the towers compute in; the published numbers are float32.
    batch_size : int, default=32
        Images or texts in one pass.
    workers : int, default=0
        Processes that decode images.

    Raises
    ------
    OptionError
        If an option cannot be used.
    ProviderError
        If a file is missing, damaged or of another model, or would have to be executed.
    """
    where, checkpoint = "tgcir", Path(checkpoint)
    settings = Settings.check(device, dtype, batch_size, workers, where)
    cleaning = cleaning or ("fashioniq" if corrections else "none")
    words = _corrections(cleaning, corrections, where)
    model = load_tgcir(checkpoint, where, dtype=settings.dtype)
    tokenizer = ClipTokenizer.for_model(
        vocabulary,
        n_tokens=model.text.n_tokens,
        context_length=model.text.context_length,
        where=where,
    )
    for module in (model.vision.model, model.text.model, model.tokens, model.composition):
        module.to(settings.device)
    transform = CentreSquare(model.vision.resolution)
    fingerprint = {
        "checkpoint_sha256": sha256_of(checkpoint),
        "preprocessing": transform.fingerprint,
        "dtype": dtype,
        "cleaning": cleaning,
        "corrections_sha256": sha256_of(Path(corrections)) if corrections else "none",
    }
    return TgCirProvider(
        model=model,
        tokenizer=tokenizer,
        corrections=words,
        decoder=ImageDecoder(transform, workers=workers),
        settings=settings,
        fingerprint=fingerprint,
    )


def _corrections(cleaning: str, corrections: Path | None, where: str) -> Mapping[str, str] | None:
    if cleaning not in CLEANINGS:
        raise OptionError(f"{where}: cleaning {cleaning!r}{closest(cleaning, CLEANINGS)}")
    if cleaning == "none":
        if corrections:
            raise OptionError(
                f"{where}: expected cleaning=fashioniq with corrections, got {cleaning!r}. "
                "Leave one of the two out."
            )
        return None
    if corrections:
        return read_corrections(Path(corrections), where)
    logger.warning("%s: no corrections are given: words stay as they are spelt", where)
    return {}
