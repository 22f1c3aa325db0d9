"""What stands in the published files: their layouts, the sizes shapes tell, and every key.

Key names follow the files, which BLIP wrote (BSD-3-Clause; see NOTICE).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from torch import Tensor, nn

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


Tensors = dict[str, tuple[str, Tensor]]
"""Key in a module -> key in the file and its tensor."""

_OTHER = "Is this the checkpoint of another model?"
_VISION = {
    "embeddings.class_embedding": "cls_token",
    "embeddings.position_embedding": "pos_embed",
    "embeddings.patch_embedding": "patch_embed.proj",
    "encoder.layers": "blocks",
    "layer_norm": "norm",
    "self_attn.qkv": "attn.qkv",
    "self_attn.projection": "attn.proj",
    "post_layernorm": "norm",
}


@dataclass(frozen=True, kw_only=True)
class VisionSizes:
    """Of the image encoder; ``image_size`` is the one its positions are stored for."""

    width: int
    depth: int
    mlp_width: int
    patch: int
    image_size: int
    n_features: int


@dataclass(frozen=True, kw_only=True)
class TextSizes:
    """Of the text encoder."""

    width: int
    depth: int
    mlp_width: int
    vocabulary: int
    positions: int
    n_features: int


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


def vision_sizes(weights: Weights) -> VisionSizes:
    """Infer the image encoder from shapes.

    Raises
    ------
    ProviderError
        If a needed tensor is missing, or the positions are no square grid.
    """
    width, _, patch, _ = weights.shape("visual_encoder.patch_embed.proj.weight", 4)
    positions = weights.shape("visual_encoder.pos_embed", 3)[1]
    side = isqrt(max(positions - 1, 0))
    if side * side != positions - 1 or side == 0:
        raise ProviderError(
            f"{weights.where}: expected a square grid of positions and one more, got {positions}. "
            f"{_OTHER}"
        )
    return VisionSizes(
        width=width,
        depth=weights.count("visual_encoder.blocks"),
        mlp_width=weights.shape("visual_encoder.blocks.0.mlp.fc1.weight", 2)[0],
        patch=patch,
        image_size=patch * side,
        n_features=weights.shape("vision_proj.weight", 2)[0],
    )


def text_sizes(weights: Weights) -> TextSizes:
    """Infer the text encoder from shapes.

    Raises
    ------
    ProviderError
        If a needed tensor is missing.
    """
    embeddings, layers = "text_encoder.embeddings", "text_encoder.encoder.layer"
    vocabulary, width = weights.shape(f"{embeddings}.word_embeddings.weight", 2)
    return TextSizes(
        width=width,
        depth=weights.count(layers),
        mlp_width=weights.shape(f"{layers}.0.intermediate.dense.weight", 2)[0],
        vocabulary=vocabulary,
        positions=weights.shape(f"{embeddings}.position_embeddings.weight", 2)[0],
        n_features=weights.shape("text_proj.weight", 2)[0],
    )


def vision_tensors(weights: Weights, module: nn.Module) -> Tensors:
    """Return the tensor of the file for every key of a ``model.ImageEncoder``."""
    return _tensors(weights, module, {"vision": "visual_encoder", "proj": "vision_proj"}, _VISION)


def text_tensors(weights: Weights, module: nn.Module) -> Tensors:
    """Return the tensor of the file for every key of a ``model.TextEncoder``."""
    return _tensors(weights, module, {"bert": "text_encoder", "proj": "text_proj"}, {})


def _tensors(
    weights: Weights, module: nn.Module, roots: Mapping[str, str], names: Mapping[str, str]
) -> Tensors:
    tensors: Tensors = {}
    for key in module.state_dict():
        root, _, rest = key.partition(".")
        for new, old in names.items():
            rest = rest.replace(new, old)
        name = f"{roots[root]}.{rest}"
        tensors[key] = name, weights.take(name)
    return tensors
