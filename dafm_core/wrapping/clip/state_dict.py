"""From OpenAI's keys to towers: sizes come from tensor shapes and from nowhere else.

The mathematics of the transformers is that of ``transformers``; names differ, and the stacked q, k,
v rows and the two projections are laid out differently. Weights are not copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt
from typing import TypeAlias

import torch
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from dafm_core.errors import ProviderError
from dafm_core.wrapping.checkpoints import Weights, assign
from dafm_core.wrapping.clip.resnet import HEAD_WIDTH, ModifiedResNet
from dafm_core.wrapping.clip.towers import TextTower, VisionTransformer

VisionTower: TypeAlias = VisionTransformer | ModifiedResNet

Named: TypeAlias = tuple[str, tuple[str, Tensor]]
"""Key in the module, key in the file, tensor."""

_BLOCK = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_COUNTER = "num_batches_tracked"  # of batch norms: training only


@dataclass(frozen=True)
class Clip:
    """Both towers of one file."""

    vision: VisionTower
    text: TextTower


def clip_towers(weights: Weights, prefix: str = "", *, dtype: torch.dtype = torch.float32) -> Clip:
    """Return the CLIP stored below ``prefix``: a text tower, and a ResNet or a vision transformer.

    Parameters
    ----------
    weights : Weights
        In OpenAI's key names. ``logit_scale`` is not taken.
    prefix : str
        What stands before every key, such as ``"clip."``.
    dtype : torch.dtype, default=torch.float32
        What the towers compute in.

    Raises
    ------
    ProviderError
        If a tensor is missing, or shapes make no CLIP.
    """
    is_resnet = f"{prefix}visual.attnpool.positional_embedding" in weights
    vision: VisionTower
    if is_resnet:
        vision = modified_resnet(weights, f"{prefix}visual.", dtype=dtype)
    else:
        vision = vision_transformer(weights, f"{prefix}visual.", dtype=dtype)
    text = text_tower(weights, prefix, dtype=dtype)
    if vision.embed_dim != text.embed_dim:
        raise ProviderError(
            f"{weights.where}: expected features of one width, got {vision.embed_dim} for images "
            f"and {text.embed_dim} for texts. Is this the checkpoint of another model?"
        )
    return Clip(vision, text)


def n_heads(width: int, key: str, weights: Weights) -> int:
    """Return ``width / 64``; raise ProviderError where that is no whole number."""
    if width % HEAD_WIDTH:
        raise ProviderError(
            f"{weights.where}: expected a multiple of {HEAD_WIDTH} as width of {key!r}, got "
            f"{width}. Is this the checkpoint of another model?"
        )
    return width // HEAD_WIDTH


def side_of(n_positions: int, key: str, weights: Weights) -> int:
    """Return the side of a square grid of ``n_positions - 1`` cells, the class position aside."""
    side = isqrt(n_positions - 1)
    if side < 1 or side * side + 1 != n_positions:
        raise ProviderError(
            f"{weights.where}: expected a square number plus one as rows of {key!r}, got "
            f"{n_positions}. Is this the checkpoint of another model?"
        )
    return side


def text_tower(
    weights: Weights, prefix: str = "", *, dtype: torch.dtype = torch.float32
) -> TextTower:
    """Return the text model stored below ``prefix``, without a copy of its weights."""
    n_tokens, width = weights.shape(f"{prefix}token_embedding.weight", 2)
    context_length, _ = weights.shape(f"{prefix}positional_embedding", 2)
    n_layers = weights.count(f"{prefix}transformer.resblocks")
    mlp_width, _ = weights.shape(f"{prefix}transformer.resblocks.0.mlp.c_fc.weight", 2)
    _, embed_dim = weights.shape(f"{prefix}text_projection", 2)
    config = CLIPTextConfig(
        vocab_size=n_tokens,
        hidden_size=width,
        intermediate_size=mlp_width,
        projection_dim=embed_dim,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads(width, f"{prefix}token_embedding.weight", weights),
        max_position_embeddings=context_length,
        hidden_act="quick_gelu",
        layer_norm_eps=1e-5,
        bos_token_id=n_tokens - 2,
        eos_token_id=n_tokens - 1,  # the largest id; its first occurrence is the one pooled
        pad_token_id=0,
    )
    with torch.device("meta"):
        model = CLIPTextModelWithProjection(config)
    embeddings = "text_model.embeddings"
    tensors = dict(
        [
            _same(
                weights, f"{prefix}token_embedding.weight", f"{embeddings}.token_embedding.weight"
            ),
            _same(
                weights, f"{prefix}positional_embedding", f"{embeddings}.position_embedding.weight"
            ),
            *_pair(weights, f"{prefix}ln_final", "text_model.final_layer_norm"),
            _transposed(weights, f"{prefix}text_projection", "text_projection.weight"),
            *_blocks(weights, f"{prefix}transformer", "text_model.encoder", n_layers, width),
        ]
    )
    buffers = {f"{embeddings}.position_ids": torch.arange(context_length).unsqueeze(0)}
    assign(model, tensors, weights.where, dtype=dtype, buffers=buffers)
    return TextTower(model)


def vision_transformer(
    weights: Weights, prefix: str = "visual.", *, dtype: torch.dtype = torch.float32
) -> VisionTransformer:
    """Return the vision transformer stored below ``prefix``, without a copy of its weights."""
    width, _, _, patch = weights.shape(f"{prefix}conv1.weight", 4)
    n_positions, _ = weights.shape(f"{prefix}positional_embedding", 2)
    resolution = patch * side_of(n_positions, f"{prefix}positional_embedding", weights)
    n_layers = weights.count(f"{prefix}transformer.resblocks")
    mlp_width, _ = weights.shape(f"{prefix}transformer.resblocks.0.mlp.c_fc.weight", 2)
    _, embed_dim = weights.shape(f"{prefix}proj", 2)
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=mlp_width,
        projection_dim=embed_dim,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads(width, f"{prefix}conv1.weight", weights),
        image_size=resolution,
        patch_size=patch,
        hidden_act="quick_gelu",
        layer_norm_eps=1e-5,
    )
    with torch.device("meta"):
        model = CLIPVisionModelWithProjection(config)
    embeddings = "vision_model.embeddings"
    tensors = dict(
        [
            _same(weights, f"{prefix}class_embedding", f"{embeddings}.class_embedding"),
            _same(weights, f"{prefix}conv1.weight", f"{embeddings}.patch_embedding.weight"),
            _same(
                weights, f"{prefix}positional_embedding", f"{embeddings}.position_embedding.weight"
            ),
            *_pair(weights, f"{prefix}ln_pre", "vision_model.pre_layrnorm"),
            *_pair(weights, f"{prefix}ln_post", "vision_model.post_layernorm"),
            _transposed(weights, f"{prefix}proj", "visual_projection.weight"),
            *_blocks(weights, f"{prefix}transformer", "vision_model.encoder", n_layers, width),
        ]
    )
    buffers = {f"{embeddings}.position_ids": torch.arange(n_positions).unsqueeze(0)}
    assign(model, tensors, weights.where, dtype=dtype, buffers=buffers)
    return VisionTransformer(model)


def _same(weights: Weights, source: str, target: str) -> Named:
    return target, (source, weights.take(source))


def _pair(weights: Weights, source: str, target: str) -> Iterator[Named]:
    for part in ("weight", "bias"):
        yield _same(weights, f"{source}.{part}", f"{target}.{part}")


def _transposed(weights: Weights, source: str, target: str) -> Named:
    weights.shape(source, 2)
    return target, (source, weights.take(source).t())


def _blocks(
    weights: Weights, source: str, target: str, n_layers: int, width: int
) -> Iterator[Named]:
    for layer in range(n_layers):
        old, new = f"{source}.resblocks.{layer}", f"{target}.layers.{layer}"
        for part, n_dims in (("weight", 2), ("bias", 1)):
            key = f"{old}.attn.in_proj_{part}"
            if weights.shape(key, n_dims)[0] != 3 * width:
                raise ProviderError(
                    f"{weights.where}: expected {3 * width} rows for {key!r}, got "
                    f"{weights.shape(key, n_dims)[0]}. Is this the checkpoint of another model?"
                )
            for name, rows in zip("qkv", torch.split(weights.take(key), width), strict=True):
                yield f"{new}.self_attn.{name}_proj.{part}", (key, rows)
        for old_part, new_part in _BLOCK.items():
            yield from _pair(weights, f"{old}.{old_part}", f"{new}.{new_part}")


def modified_resnet(
    weights: Weights, prefix: str = "visual.", *, dtype: torch.dtype = torch.float32
) -> ModifiedResNet:
    """Return the ResNet stored below ``prefix``, without a copy of its weights."""
    position = f"{prefix}attnpool.positional_embedding"
    n_positions, n_channels = weights.shape(position, 2)
    width, *_ = weights.shape(f"{prefix}layer1.0.conv1.weight", 4)  # not conv1: that is half of it
    embed_dim, _ = weights.shape(f"{prefix}attnpool.c_proj.weight", 2)
    n_heads(n_channels, position, weights)
    if width % 2:
        raise ProviderError(
            f"{weights.where}: expected an even number of rows for "
            f"{prefix + 'layer1.0.conv1.weight'!r}, got {width}. "
            "Is this the checkpoint of another model?"
        )
    side = side_of(n_positions, position, weights)
    n_blocks = [weights.count(f"{prefix}layer{stage}") for stage in (1, 2, 3, 4)]
    with torch.device("meta"):
        model = ModifiedResNet(width, n_blocks, side, embed_dim)
    tensors = {}
    for key in model.state_dict():
        name = f"{prefix}{key}"
        absent = key.endswith(_COUNTER) and name not in weights
        tensors[key] = name, torch.tensor(0) if absent else weights.take(name)
    assign(model, tensors, weights.where, dtype=dtype)
    return model
