"""The factories of the three providers: options to checked files, files to a loaded model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dafm_core.ground.files import sha256_of
from dafm_core.wrapping.blip.encoders import ImageGrounded, load_images, load_texts
from dafm_core.wrapping.blip.text import CaptionTokenizer
from dafm_core.wrapping.encoding import TorchEncoder
from dafm_core.wrapping.inference import Settings
from dafm_core.wrapping.target_pad import TargetPad
from dafm_plugin_blip4cir.layout import BLIP_UNUSED, open_entry, open_grounded, text_unused
from dafm_plugin_blip4cir.model import BiDirectional, load_combiner
from dafm_plugin_blip4cir.pairing import check_pair
from dafm_plugin_blip4cir.text import ADDED, MARKED_TOKENS, MarkingTokenizer


def load(
    *,
    checkpoint: Path,
    vocabulary: str = "bert-base-uncased",
    vision_heads: int = 12,
    text_heads: int = 12,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 8,
    workers: int = 0,
) -> TorchEncoder[ImageGrounded]:
    """Load the image-grounded model from its one file; takes the options of ``plugin.py``.

    Raises
    ------
    ProviderError
        If a file is missing, damaged, unsafe, or another model's.
    OptionError
        If an option makes no sense.
    """
    where = "blip4cir"
    settings = Settings.checked(
        where, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    weights = open_grounded(checkpoint, f"{where}: checkpoint")
    digest = sha256_of(checkpoint)  # reads the file once, before its pages are needed
    images = load_images(weights, n_heads=vision_heads, dtype=settings.dtype)
    texts = load_texts(
        weights,
        n_heads=text_heads,
        n_features=images.sizes.n_features,
        vision_width=images.sizes.width,
    )
    weights.report_unused(("temp", "tau", "text_encoder.embeddings.position_ids"))
    tokenizer = CaptionTokenizer(
        vocabulary,
        where,
        n_words=texts.sizes.vocabulary,
        n_positions=texts.sizes.positions,
        added=ADDED,
        first="[ENC]",
    )
    fingerprint = {
        "model": where,
        "checkpoint_sha256": digest,
        "vocabulary_sha256": tokenizer.sha256,
        "text_template": "caption as it is",
        "vision_heads": str(vision_heads),
        "text_heads": str(text_heads),
        "vision_dtype": settings.dtype_name,
    }
    return TorchEncoder(
        ImageGrounded(images, texts),
        tokenizer=tokenizer,
        preprocessing=TargetPad(images.sizes.image_size),
        settings=settings,
        fingerprint=fingerprint,
    )


def _load_bi(
    where: str,
    *,
    checkpoint: Path,
    text_encoder: Path,
    combiner: Path | None,
    vocabulary: str = "bert-base-uncased",
    vision_heads: int = 12,
    text_heads: int = 12,
    image_size: int = 384,
    captions: str = "one",
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 8,
    workers: int = 0,
) -> TorchEncoder[BiDirectional]:
    settings = Settings.checked(
        where, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    weights = open_entry(checkpoint, f"{where}: checkpoint", "model")
    images = load_images(weights, n_heads=vision_heads, dtype=settings.dtype, image_size=image_size)
    weights.report_unused(BLIP_UNUSED)
    n_features = images.sizes.n_features
    weights = open_entry(text_encoder, f"{where}: text_encoder", "BLIPTextEncoder")
    texts = load_texts(weights, n_heads=text_heads, n_features=n_features)
    weights.report_unused(text_unused(texts.sizes.depth))
    fuse = None
    if combiner is not None:
        check_pair(text_encoder, combiner, where)
        weights = open_entry(combiner, f"{where}: combiner", "Combiner")
        fuse = load_combiner(weights, n_features=n_features)
        weights.report_unused()
    tokenizer = CaptionTokenizer(
        vocabulary,
        where,
        n_words=texts.sizes.vocabulary,
        n_positions=texts.sizes.positions,
        added=ADDED,
        cut=MARKED_TOKENS,
    )
    fingerprint = {
        "model": where,
        "checkpoint_sha256": sha256_of(checkpoint),
        "text_encoder_sha256": sha256_of(text_encoder),
        **({"combiner_sha256": sha256_of(combiner)} if combiner else {}),
        "vocabulary_sha256": tokenizer.sha256,
        "text_template": f"forward marker, captions={captions}, {MARKED_TOKENS} tokens",
        "vision_heads": str(vision_heads),
        "text_heads": str(text_heads),
        "vision_dtype": settings.dtype_name,
    }
    return TorchEncoder(
        BiDirectional(images, texts, fuse),
        tokenizer=MarkingTokenizer(tokenizer, captions=captions, where=where),
        preprocessing=TargetPad(images.sizes.image_size),
        settings=settings,
        fingerprint=fingerprint,
        keep_read=True,  # a vector of 1 KB an image
    )


load_bi = partial(_load_bi, "blip4cir-bi")
"""Load BLIP4CIR+Bi from its three files; as :func:`load` otherwise."""


def load_bi_sum(
    *,
    checkpoint: Path,
    text_encoder: Path,
    vocabulary: str = "bert-base-uncased",
    vision_heads: int = 12,
    text_heads: int = 12,
    image_size: int = 384,
    captions: str = "one",
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 8,
    workers: int = 0,
) -> TorchEncoder[BiDirectional]:
    """Load the first stage of BLIP4CIR+Bi, without Combiner; as :func:`load` otherwise."""
    return _load_bi(
        "blip4cir-bi-sum",
        checkpoint=checkpoint,
        text_encoder=text_encoder,
        combiner=None,
        vocabulary=vocabulary,
        vision_heads=vision_heads,
        text_heads=text_heads,
        image_size=image_size,
        captions=captions,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        workers=workers,
    )
