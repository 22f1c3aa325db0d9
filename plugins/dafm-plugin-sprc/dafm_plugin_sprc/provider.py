"""The factories of both providers: options to checked files, files to a loaded model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dafm_core.ground.files import sha256_of
from dafm_core.wrapping.blip.text import CaptionTokenizer, clean
from dafm_core.wrapping.checkpoints import Weights
from dafm_core.wrapping.encoding import TorchEncoder
from dafm_core.wrapping.inference import Settings
from dafm_core.wrapping.target_pad import TargetPad
from dafm_plugin_sprc.layout import open_spn, open_sprc
from dafm_plugin_sprc.model import Sprc, load_model

MAX_TOKENS = 32
"""With ``[CLS]`` and ``[SEP]``; shorter texts are padded to it."""

prepare = partial(clean, max_words=50)
"""Caption -> what is tokenised."""


def _load(
    where: str,
    open_file: Callable[[Path, str], Weights],
    *,
    checkpoint: Path,
    vocabulary: str = "bert-base-uncased",
    vision_heads: int = 16,
    qformer_heads: int = 12,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 8,
    workers: int = 0,
) -> TorchEncoder[Sprc]:
    """Load either model from its one file; the keywords are the options of ``plugin.py``.

    Raises
    ------
    ProviderError
        If a file is missing, damaged, unsafe, or another model's.
    OptionError
        If an option makes no sense.
    """
    settings = Settings.checked(
        where, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    weights = open_file(checkpoint, f"{where}: checkpoint")
    digest = sha256_of(checkpoint)  # reads the file once, before its pages are let go
    model = load_model(
        weights,
        vision_heads=vision_heads,
        qformer_heads=qformer_heads,
        dtype=settings.dtype,
        with_spn=open_file is open_spn,
    )
    tokenizer = CaptionTokenizer(
        vocabulary,
        where,
        n_words=model.sizes.qformer.vocabulary,
        n_positions=model.sizes.qformer.positions,
        prepare=prepare,
        cut=MAX_TOKENS,
        padding="max_length",
    )
    fingerprint = {
        "model": f"{where} {model.sizes.vision.kind}",
        "checkpoint_sha256": digest,
        "vocabulary_sha256": tokenizer.sha256,
        "text_template": f"sprc cleaning, {MAX_TOKENS} tokens",
        "vision_heads": str(vision_heads),
        "qformer_heads": str(qformer_heads),
        "vision_dtype": settings.dtype_name,
    }
    return TorchEncoder(
        model,
        tokenizer=tokenizer,
        preprocessing=TargetPad(model.sizes.vision.image_size),
        settings=settings,
        fingerprint=fingerprint,
    )


load_sprc = partial(_load, "sprc", open_sprc)
"""Load SPRC from ``sprc_cirr.pt`` or a sibling."""

load_sprc_spn = partial(_load, "sprc-spn", open_spn)
"""Load SPRC+SPN from its second-stage ``best.pt``."""
