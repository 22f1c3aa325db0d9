"""Which of the published files this is, and what it holds that nobody needs.

Names and sizes of the encoders in it are ``dafm_core.wrapping.blip.layout``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dafm_core.errors import ProviderError
from dafm_core.wrapping.checkpoints import Weights, read_checkpoint

BLIP_UNUSED = (
    "visual_encoder_m.",  # momentum copies
    "vision_proj_m.",
    "text_encoder",  # replaced by the fine-tuned file, with its momentum copy
    "text_proj",
    "text_decoder.",
    "image_queue",
    "text_queue",
    "queue_ptr",
    "ptr_queue",
    "itm_head.",
    "temp",
)
"""What BLIP's pre-training file holds beside the image encoder."""


def text_unused(depth: int) -> tuple[str, ...]:
    """Return what a file of the text encoder holds beside a BERT that sees no image."""
    layers = range(depth)
    return (
        "text_encoder.embeddings.position_ids",
        *(f"text_encoder.encoder.layer.{i}.crossattention." for i in layers),
    )


_OTHER = "Is this the checkpoint of another model?"


def open_grounded(path: Path, where: str) -> Weights:
    """Return the tensors of the image-grounded model, of its first stage or of SPN's second.

    Raises
    ------
    ProviderError
        If the file cannot be read safely, or holds another model.
    """
    content = read_checkpoint(path, where)
    if not isinstance(content, Mapping) or "state_dict" not in content:
        _refuse_others(content, path, where)
        return Weights.from_content(content, where, entry="BLIP_Retrieval")
    weights = Weights.from_content(content, where, entry="state_dict")
    if any(key.startswith("blip_model.") for key in weights):
        raise ProviderError(
            f"{where}: got a file of SPRC+SPN ({path}). "
            "Use --provider sprc-spn of dafm-plugin-sprc."
        )
    if others := [key for key in weights if not key.startswith("blip.") and key != "tau"]:
        raise ProviderError(
            f"{where}: expected every key to start with 'blip.', got {others[0]!r} ({path}). "
            f"{_OTHER}"
        )
    return Weights({key.removeprefix("blip."): weights.take(key) for key in weights}, where)


def _refuse_others(content: Any, path: Path, where: str) -> None:
    known = {
        "BLIPTextEncoder": "the text encoder of BLIP4CIR+Bi; use --provider blip4cir-bi",
        "Blip2QformerCirAlignPrompt": "a file of SPRC; use --provider sprc of dafm-plugin-sprc",
        "model": "a file like BLIP's pre-training one; use --provider blip4cir-bi",
    }
    for entry in known.keys() & (content.keys() if isinstance(content, Mapping) else ()):
        raise ProviderError(
            f"{where}: expected the image-grounded BLIP4CIR, got {known[entry]} ({path})."
        )


def open_entry(path: Path, where: str, entry: str) -> Weights:
    """Return the tensors of one of the three files of BLIP4CIR+Bi.

    Raises
    ------
    ProviderError
        If the file cannot be read safely, or has no such entry.
    """
    return Weights.from_content(read_checkpoint(path, where), where, entry=entry)
