"""The factories of both providers: options to checked files, files to a loaded model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dafm_core.errors import OptionError, closest
from dafm_core.ground.files import sha256_of
from dafm_core.wrapping.blip.encoders import ImageGrounded, load_images, load_texts
from dafm_core.wrapping.blip.text import CaptionTokenizer, clean
from dafm_core.wrapping.encoding import TorchEncoder
from dafm_core.wrapping.inference import Settings
from dafm_plugin_covr.layout import BLIP_UNUSED, open_blip, open_blip2, open_gallery
from dafm_plugin_covr.model import Covr2, load_model
from dafm_plugin_covr.preprocessing import StretchedSquare

MAX_TOKENS = 64
"""Where the authors' evaluation cuts a text, ``[CLS]`` and ``[SEP]`` included."""

SCORES = ("max", "mean")
"""How 32 vectors of a query are compared with 32 of a candidate."""

prepare = partial(clean, max_words=30)
"""Caption -> what is tokenised."""

_TEMPLATE = f"LAVIS cleaning, 30 words, {MAX_TOKENS} tokens"


def load_blip(
    *,
    checkpoint: Path,
    vocabulary: str = "bert-base-uncased",
    vision_heads: int = 16,
    text_heads: int = 12,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 8,
    workers: int = 0,
) -> TorchEncoder[ImageGrounded]:
    """Load CoVR-BLIP from its one file; takes the options of ``plugin.py``.

    Raises
    ------
    ProviderError
        If a file is missing, damaged, unsafe, or another model's.
    OptionError
        If an option makes no sense.
    """
    where = "covr-blip"
    settings = Settings.checked(
        where, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    weights = open_blip(checkpoint, f"{where}: checkpoint")
    digest = sha256_of(checkpoint)  # reads the file once, before its pages are needed
    images = load_images(weights, n_heads=vision_heads, dtype=settings.dtype)
    texts = load_texts(
        weights,
        n_heads=text_heads,
        n_features=images.sizes.n_features,
        vision_width=images.sizes.width,
    )
    weights.report_unused(BLIP_UNUSED)
    tokenizer = CaptionTokenizer(
        vocabulary,
        where,
        n_words=texts.sizes.vocabulary,
        n_positions=texts.sizes.positions,
        added=("[DEC]", "[ENC]"),
        first="[ENC]",
        prepare=prepare,
        cut=MAX_TOKENS,
    )
    fingerprint = {
        "model": where,
        "checkpoint_sha256": digest,
        "vocabulary_sha256": tokenizer.sha256,
        "text_template": _TEMPLATE,
        "vision_heads": str(vision_heads),
        "text_heads": str(text_heads),
        "vision_dtype": settings.dtype_name,
    }
    return TorchEncoder(
        ImageGrounded(images, texts),
        tokenizer=tokenizer,
        preprocessing=StretchedSquare(images.sizes.image_size),
        settings=settings,
        fingerprint=fingerprint,
    )


def load_blip2(
    *,
    checkpoint: Path,
    gallery_checkpoint: Path,
    score: str = "max",
    vocabulary: str = "bert-base-uncased",
    vision_heads: int = 16,
    qformer_heads: int = 12,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 8,
    workers: int = 0,
) -> TorchEncoder[Covr2]:
    """Load CoVR-2 from its file and BLIP-2's; takes the options of ``plugin.py``.

    Raises
    ------
    ProviderError
        If a file is missing, damaged, unsafe, or another model's, or the two do not belong
        together.
    OptionError
        If an option makes no sense.
    """
    where = "covr-blip2"
    settings = Settings.checked(
        where, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    if score not in SCORES:
        raise OptionError(f"{where}: score {score!r}{closest(score, SCORES)}")
    weights = open_blip2(checkpoint, f"{where}: checkpoint")
    gallery = open_gallery(gallery_checkpoint, f"{where}: gallery_checkpoint", weights)
    digests = {
        "checkpoint_sha256": sha256_of(checkpoint),
        "gallery_checkpoint_sha256": sha256_of(gallery_checkpoint),
    }
    model = load_model(
        weights,
        gallery,
        vision_heads=vision_heads,
        qformer_heads=qformer_heads,
        dtype=settings.dtype,
        by_mean=score == "mean",
    )
    tokenizer = CaptionTokenizer(
        vocabulary,
        where,
        n_words=model.sizes.qformer.vocabulary,
        n_positions=model.sizes.qformer.positions,
        prepare=prepare,
        cut=MAX_TOKENS,
    )
    fingerprint = {
        "model": where,
        **digests,
        "score": score,
        "vocabulary_sha256": tokenizer.sha256,
        "text_template": _TEMPLATE,
        "vision_heads": str(vision_heads),
        "qformer_heads": str(qformer_heads),
        "vision_dtype": settings.dtype_name,
    }
    return TorchEncoder(
        model,
        tokenizer=tokenizer,
        preprocessing=StretchedSquare(model.sizes.vision.image_size),
        settings=settings,
        fingerprint=fingerprint,
    )
