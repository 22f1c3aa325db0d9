"""Names and sizes of BLIP's encoders in files: what shapes tell, and the place of every tensor.

Key names follow the files, which BLIP wrote (BSD-3-Clause; see NOTICE).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

from torch import Tensor, nn

from dafm_core.errors import ProviderError
from dafm_core.wrapping.checkpoints import Weights

Tensors = dict[str, tuple[str, Tensor]]
"""Key in a module -> key in the file and its tensor."""

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


def side_of_grid(n_positions: int, where: str) -> int:
    """Return the side of a square grid of ``n_positions - 1`` cells, the class position aside.

    Raises
    ------
    ProviderError
        If they make no square.
    """
    side = isqrt(max(n_positions - 1, 0))
    if side * side != n_positions - 1 or side == 0:
        raise ProviderError(
            f"{where}: expected a square grid of positions and one more, got {n_positions}. "
            "Is this the checkpoint of another model?"
        )
    return side


def vision_sizes(weights: Weights) -> VisionSizes:
    """Infer the image encoder from shapes.

    Raises
    ------
    ProviderError
        If a needed tensor is missing, or the positions are no square grid.
    """
    width, _, patch, _ = weights.shape("visual_encoder.patch_embed.proj.weight", 4)
    positions = weights.shape("visual_encoder.pos_embed", 3)[1]
    return VisionSizes(
        width=width,
        depth=weights.count("visual_encoder.blocks"),
        mlp_width=weights.shape("visual_encoder.blocks.0.mlp.fc1.weight", 2)[0],
        patch=patch,
        image_size=patch * side_of_grid(positions, weights.where),
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
    """Return the tensor of the file for every key of an ``encoders.ImageEncoder``."""
    return _tensors(weights, module, {"vision": "visual_encoder", "proj": "vision_proj"}, _VISION)


def text_tensors(weights: Weights, module: nn.Module) -> Tensors:
    """Return the tensor of the file for every key of an ``encoders.TextEncoder``."""
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
