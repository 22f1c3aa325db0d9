"""What stands in a published SPRC file: its layouts, the sizes its shapes tell, and every key.

Key names follow the files, which LAVIS wrote (BSD-3-Clause; see NOTICE); ``model.py`` knows the
modules they go to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dafm_core.errors import ProviderError
from dafm_core.wrapping.checkpoints import Weights, read_checkpoint

SPRC_ENTRY = "Blip2QformerCirAlignPrompt"
SPN_ENTRY = "state_dict"
SPN_PREFIX = "blip_model."

IGNORED = (
    "prompt_tokens",  # training only, as the next two
    "temp",
    "itm_head.",
    "Qformer.cls.",  # language-model head
    "Qformer.bert.embeddings.position_ids",
)
"""Keys of a complete file that inference does not need."""


def spn_ignored(depth: int) -> tuple[str, ...]:
    """Return what an SPRC+SPN file has beyond its needs: the query side never looks at an image."""
    layers = (f"Qformer_query.bert.encoder.layer.{i}." for i in range(depth))
    unused = ("crossattention.", "intermediate_query.", "output_query.")
    return (
        *IGNORED,
        "text_proj.",  # its trained copy text_proj_q is used
        "Qformer_query.cls.",
        "Qformer_query.bert.embeddings.position_ids",
        *(layer + part for layer in layers for part in unused),
    )


Tensors = dict[str, tuple[str, Tensor]]
"""Key in a module -> key in the file and its tensor."""


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


def open_sprc(path: Path, where: str) -> Weights:
    """Return the tensors of an SPRC file.

    Raises
    ------
    ProviderError
        If the file cannot be read safely, or holds another model; SPRC+SPN is named.
    """
    content = read_checkpoint(path, where)
    if _has_prefix(content, SPN_PREFIX):
        raise ProviderError(
            f"{where}: expected SPRC, got a file of SPRC+SPN ({path}). Use --provider sprc-spn."
        )
    _refuse_blip4cir(content, path, where)
    return Weights.from_content(content, where, entry=SPRC_ENTRY)


def open_spn(path: Path, where: str) -> Weights:
    """Return the tensors of an SPRC+SPN file, named as in an SPRC file.

    Raises
    ------
    ProviderError
        If the file cannot be read safely, or holds another model; plain SPRC is named.
    """
    content = read_checkpoint(path, where)
    if isinstance(content, Mapping) and SPRC_ENTRY in content:
        raise ProviderError(
            f"{where}: expected SPRC+SPN, got a file of SPRC ({path}). Use --provider sprc."
        )
    _refuse_blip4cir(content, path, where)
    weights = Weights.from_content(content, where, entry=SPN_ENTRY)
    if others := [key for key in weights if not key.startswith(SPN_PREFIX)]:
        raise ProviderError(
            f"{where}: expected every key to start with {SPN_PREFIX!r}, got {others[0]!r}. "
            f"Is {path} the checkpoint of another model?"
        )
    return Weights({key.removeprefix(SPN_PREFIX): weights.take(key) for key in weights}, where)


def _has_prefix(content: Any, prefix: str) -> bool:
    state = content.get(SPN_ENTRY) if isinstance(content, Mapping) else None
    return isinstance(state, Mapping) and any(str(key).startswith(prefix) for key in state)


def _refuse_blip4cir(content: Any, path: Path, where: str) -> None:
    first_stage = isinstance(content, Mapping) and "BLIP_Retrieval" in content
    if first_stage or _has_prefix(content, "blip."):
        raise ProviderError(
            f"{where}: got a file of the image-grounded BLIP4CIR ({path}). "
            "Use --provider blip4cir of dafm-plugin-blip4cir."
        )


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of the whole model."""

    vision: VisionSizes
    qformer: QFormerSizes
    n_vectors: int
    n_features: int


def infer_sizes(weights: Weights) -> Sizes:
    """Infer everything but head counts, which no shape tells.

    Raises
    ------
    ProviderError
        If a needed tensor is missing, or sizes make no model.
    """
    return Sizes(
        vision=_vision_sizes(weights),
        qformer=_qformer_sizes(weights, "Qformer.bert"),
        n_vectors=weights.shape("query_tokens", 3)[1],
        n_features=weights.shape("vision_proj.weight", 2)[0],
    )


def _vision_sizes(weights: Weights) -> VisionSizes:
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
    side = isqrt(positions - 1)
    if side * side != positions - 1 or side == 0:
        raise ProviderError(
            f"{weights.where}: expected a square grid of positions and one more, got {positions}. "
            "Is this the checkpoint of another model?"
        )
    return VisionSizes(
        kind="eva" if eva else "clip",
        width=width,
        depth=depth,
        mlp_width=mlp_width,
        patch=patch,
        image_size=patch * side,
    )


def _qformer_sizes(weights: Weights, root: str) -> QFormerSizes:
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
_ROOTS = {"qformer": "Qformer.bert", "query_qformer": "Qformer_query.bert"}


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


def tensors_of(weights: Weights, module: nn.Module, kind: Literal["eva", "clip"]) -> Tensors:
    """Return the tensor of the file for every key of a ``model.Sprc``.

    Raises
    ------
    ProviderError
        If the file lacks one.
    """
    tensors: Tensors = {}
    trained_copy = any(key.startswith("query_qformer.") for key in module.state_dict())
    for key in module.state_dict():
        part, _, rest = key.partition(".")
        if part == "vision":
            tensors[key] = _vision_tensor(weights, rest.removeprefix("encoder."), kind)
        elif part in _ROOTS:
            tensors[key] = _take(weights, f"{_ROOTS[part]}.{_in_file(rest, _QFORMER)}")
        elif part == "text_proj" and trained_copy:
            tensors[key] = _take(weights, f"text_proj_q.{rest}")
        else:
            tensors[key] = _take(weights, key)
    return tensors
