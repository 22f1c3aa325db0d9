"""Which of the published files this is, whether two belong together, and what nobody needs of them.

Names and sizes of the networks in them are ``dafm_core.wrapping.blip`` and ``blip2``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dafm_core.errors import ProviderError
from dafm_core.ground.platform import page_out
from dafm_core.wrapping.checkpoints import Weights, read_checkpoint

SCHEDULES = ("src.tools.scheduler.CosineSchedule", "src.tools.scheduler.StepSchedule")
"""Classes of the training program, an object of which lies in every file."""

BLIP_UNUSED = ("text_encoder.embeddings.position_ids",)
QUERY_UNUSED = (
    "Qformer.cls.",  # language-model head
    "Qformer.bert.embeddings.position_ids",
)
"""Keys of complete files that inference does not need."""

_SHARED = ("visual_encoder.", "ln_vision.", "vision_proj.")
"""Frozen in training: equal in both files of CoVR-2, and lacking in some."""

_OTHER_FILES = {
    "Blip2QformerCirAlignPrompt": "SPRC; use --provider sprc of dafm-plugin-sprc",
    "BLIP_Retrieval": "BLIP4CIR; use --provider blip4cir of dafm-plugin-blip4cir",
    "CLIP": "CLIP4CIR; use --provider clip4cir of dafm-plugin-clip4cir",
}


def open_blip(path: Path, where: str) -> Weights:
    """Return the tensors of a CoVR-BLIP file.

    Raises
    ------
    ProviderError
        If the file cannot be read safely, or holds another model.
    """
    weights = _open(path, where)
    if _has(weights, "Qformer."):
        raise ProviderError(
            f"{where}: expected CoVR-BLIP, got a file of CoVR-2 or BLIP-2 ({path}). "
            "Use --provider covr-blip2 for CoVR-2."
        )
    if _has(weights, "visual_encoder_m.") or _has(weights, "itm_head."):
        raise ProviderError(
            f"{where}: expected CoVR-BLIP, got BLIP's own file ({path}), which was not trained to "
            "compose. Give one of lucas-ventura/CoVR."
        )
    return weights


def open_blip2(path: Path, where: str) -> Weights:
    """Return the tensors of a CoVR-2 file.

    Raises
    ------
    ProviderError
        If the file cannot be read safely, or holds another model.
    """
    weights = _open(path, where)
    if _has(weights, "text_encoder."):
        raise ProviderError(
            f"{where}: expected CoVR-2, got a file of CoVR-BLIP or BLIP ({path}). "
            "Use --provider covr-blip for CoVR-BLIP."
        )
    if _has(weights, "itm_head."):
        raise ProviderError(
            f"{where}: expected CoVR-2, got BLIP-2 itself ({path}). Give it as "
            "gallery_checkpoint, and one of lucas-ventura/CoVR2 as checkpoint."
        )
    return weights


def open_gallery(path: Path, where: str, query: Weights) -> Weights:
    """Return the tensors of the BLIP-2 file that encodes the gallery of a CoVR-2 file.

    What both files hold of the image encoder must be equal; what this one lacks comes from there.

    Raises
    ------
    ProviderError
        If the file cannot be read safely, is another CoVR-2 file, or does not belong to ``query``.
    """
    weights = _open(path, where)
    if not _has(weights, "Qformer."):
        raise ProviderError(
            f"{where}: expected BLIP-2, got no Q-Former ({path}). Give blip2_finetune_coco.pth."
        )
    if not _has(weights, "itm_head."):
        raise ProviderError(
            f"{where}: expected BLIP-2 itself, got a file without 'itm_head.', as CoVR-2's "
            f"are ({path}). Give LAVIS' blip2_finetune_coco.pth."
        )
    if _equal(weights.take("query_tokens"), query.take("query_tokens")):
        raise ProviderError(
            f"{where}: expected other query tokens than the checkpoint's, got the same ({path}): "
            "CoVR-2 trained them. Give LAVIS' blip2_finetune_coco.pth."
        )
    frozen = {key: query.take(key) for key in query if key.startswith(_SHARED)}
    for key in frozen:
        if key in weights and not _equal(weights.take(key), frozen[key]):
            raise ProviderError(
                f"{where}: expected {key!r} as in the checkpoint, got other numbers ({path}). "
                "The two files do not belong together."
            )
    own = {key: weights.take(key) for key in weights if not key.startswith(_SHARED)}
    return Weights(own, where)


def _open(path: Path, where: str) -> Weights:
    content = read_checkpoint(path, where, inert=SCHEDULES)
    _refuse_others(content, path, where)
    return Weights.from_content(content, where, entry="model")


def _refuse_others(content: Any, path: Path, where: str) -> None:
    for entry in _OTHER_FILES.keys() & (content.keys() if isinstance(content, Mapping) else ()):
        raise ProviderError(f"{where}: got a file of {_OTHER_FILES[entry]} ({path}).")


def _has(weights: Weights, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in weights)


def _equal(copy: Tensor, original: Tensor) -> bool:
    """Compare in float32, and let go of the pages of the copy, which nobody reads again."""
    if copy.shape != original.shape:
        return False
    is_equal = torch.equal(copy.float(), original.float())
    if copy.is_contiguous():
        page_out(copy.data_ptr(), copy.numel() * copy.element_size())
    return is_equal
