"""Names and sizes of BLIP-2's first stage in files, and the place of every tensor.

Key names follow the files, which LAVIS wrote (BSD-3-Clause; see NOTICE).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dafm_core.errors import ProviderError
from dafm_core.wrapping.blip.layout import Tensors, side_of_grid
from dafm_core.wrapping.checkpoints import Weights


@dataclass(frozen=True, kw_only=True)
class VisionSizes:
    """Of the image encoder."""

    kind: Literal["eva", "clip"]
    width: int
    depth: int
    mlp_width: int
    patch: int
    image_size: int


@dataclass(frozen=True, kw_only=True)
class QFormerSizes:
    """Of one Q-Former."""

    width: int
    depth: int
    mlp_width: int
    vision_width: int
    cross_every: int
    vocabulary: int
    positions: int


def vision_sizes(weights: Weights) -> VisionSizes:
    """Infer the image encoder from shapes, and which of the two kinds it is from names.

    Raises
    ------
    ProviderError
        If a needed tensor is missing, or the positions are no square grid.
    """
    eva = "visual_encoder.patch_embed.proj.weight" in weights
    convolution = "visual_encoder.patch_embed.proj.weight" if eva else "visual_encoder.conv1.weight"
    width, _, patch, _ = weights.shape(convolution, 4)
    blocks = "visual_encoder.blocks" if eva else "visual_encoder.transformer.resblocks"
    depth = weights.count(blocks)
    mlp_width = weights.shape(f"{blocks}.0.mlp.{'fc1' if eva else 'c_fc'}.weight", 2)[0]
    positions = (
        weights.shape("visual_encoder.pos_embed", 3)[1]
        if eva
        else weights.shape("visual_encoder.positional_embedding", 2)[0]
    )
    return VisionSizes(
        kind="eva" if eva else "clip",
        width=width,
        depth=depth,
        mlp_width=mlp_width,
        patch=patch,
        image_size=patch * side_of_grid(positions, weights.where),
    )


def qformer_sizes(weights: Weights, root: str = "Qformer.bert") -> QFormerSizes:
    """Infer everything of the Q-Former below ``root`` but head counts, which no shape tells.

    Raises
    ------
    ProviderError
        If a needed tensor is missing, or layers see images in no regular order.
    """
    layers = f"{root}.encoder.layer"
    vocabulary, width = weights.shape(f"{root}.embeddings.word_embeddings.weight", 2)
    depth = weights.count(layers)
    cross = [i for i in range(depth) if f"{layers}.{i}.crossattention.self.key.weight" in weights]
    every = cross[1] if len(cross) > 1 else depth
    if cross != list(range(0, depth, every)):
        raise ProviderError(
            f"{weights.where}: expected cross-attention in every n-th layer from 0, got {cross} of "
            f"{depth} layers. Is this the checkpoint of another model?"
        )
    return QFormerSizes(
        width=width,
        depth=depth,
        mlp_width=weights.shape(f"{layers}.0.intermediate.dense.weight", 2)[0],
        vision_width=weights.shape(f"{layers}.0.crossattention.self.key.weight", 2)[1],
        cross_every=every,
        vocabulary=vocabulary,
        positions=weights.shape(f"{root}.embeddings.position_embeddings.weight", 2)[0],
    )


_EVA = {
    "embeddings.class_embedding": "cls_token",
    "embeddings.position_embedding": "pos_embed",
    "embeddings.patch_embedding": "patch_embed.proj",
    "encoder.layers": "blocks",
    "layer_norm": "norm",
    "self_attn.qkv": "attn.qkv",
    "self_attn.projection": "attn.proj",
}
_CLIP = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.patch_embedding": "conv1",
    "pre_layrnorm": "ln_pre",  # so spelt in transformers
    "encoder.layers": "transformer.resblocks",
    "layer_norm": "ln_",
    "self_attn": "attn",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_QFORMER = {
    "bert.layernorm": "embeddings.LayerNorm",
    "bert.encoder": "encoder",
    ".attention.attention.": ".attention.self.",
    ".crossattention.attention.": ".crossattention.self.",
    "word.": "embeddings.word_embeddings.",
    "position.": "embeddings.position_embeddings.",
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a whole model with this image encoder: its Q-Former, query vectors, and embedding."""

    vision: VisionSizes
    qformer: QFormerSizes
    n_vectors: int
    n_features: int

    @classmethod
    def of(cls, weights: Weights) -> Sizes:
        """Infer everything but head counts, which no shape tells.

        Raises
        ------
        ProviderError
            If a needed tensor is missing, or sizes make no model.
        """
        return cls(
            vision=vision_sizes(weights),
            qformer=qformer_sizes(weights),
            n_vectors=weights.shape("query_tokens", 3)[1],
            n_features=weights.shape("vision_proj.weight", 2)[0],
        )


def placed(part: str, tensors: Tensors) -> Tensors:
    """Return tensors with the keys they have in a module that holds this one as ``part``."""
    return {f"{part}.{key}": tensor for key, tensor in tensors.items()}


def vision_tensors(weights: Weights, module: nn.Module, kind: Literal["eva", "clip"]) -> Tensors:
    """Return the tensor of the file for every key of an ``encoders.VisionEncoder``.

    Raises
    ------
    ProviderError
        If the file lacks one; so below.
    """
    return {
        key: _vision_tensor(weights, key.removeprefix("encoder."), kind)
        for key in module.state_dict()
    }


def qformer_tensors(weights: Weights, module: nn.Module, root: str = "Qformer.bert") -> Tensors:
    """Return the tensor of the file for every key of an ``encoders.QFormer``."""
    return {key: _take(weights, f"{root}.{_in_file(key, _QFORMER)}") for key in module.state_dict()}


def own_tensors(weights: Weights, *names: str) -> Tensors:
    """Return tensors that have the same name in file and module."""
    return {name: _take(weights, name) for name in names}


def _in_file(key: str, names: Mapping[str, str]) -> str:
    for new, old in names.items():
        key = key.replace(new, old)
    return key


def _vision_tensor(weights: Weights, key: str, kind: Literal["eva", "clip"]) -> tuple[str, Tensor]:
    if key.startswith("post_layernorm."):  # the place for a last norm, which holds ln_vision
        return _take(weights, key.replace("post_layernorm", "ln_vision"))
    if kind == "clip":
        return _clip_tensor(weights, key)
    name = f"visual_encoder.{_in_file(key, _EVA)}"
    return _eva_qkv_bias(weights, name) if name.endswith("qkv.bias") else _take(weights, name)


def _take(weights: Weights, name: str) -> tuple[str, Tensor]:
    return name, weights.take(name)


def _eva_qkv_bias(weights: Weights, name: str) -> tuple[str, Tensor]:
    q_name, v_name = name.replace("qkv.bias", "q_bias"), name.replace("qkv.bias", "v_bias")
    query, value = weights.take(q_name), weights.take(v_name)
    return f"{q_name}, v_bias", torch.cat([query, torch.zeros_like(query), value])


def _clip_tensor(weights: Weights, key: str) -> tuple[str, Tensor]:
    for part, projection in enumerate((".q_proj.", ".k_proj.", ".v_proj.")):
        if projection in key:
            name = _in_file(key.replace(projection, ".in_proj_"), _CLIP)
            tensor = weights.take(f"visual_encoder.{name}")
            return f"visual_encoder.{name}", tensor.tensor_split(3)[part]
    return _take(weights, f"visual_encoder.{_in_file(key, _CLIP)}")
