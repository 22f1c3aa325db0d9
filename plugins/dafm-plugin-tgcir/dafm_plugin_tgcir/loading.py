"""From a TG-CIR checkpoint, in any of its three forms, to modules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from dafm_plugin_clip4cir.clip.towers import TextTower, VisionTower, text_tower, vision_transformer
from torch import Tensor

from dafm_core.errors import ProviderError
from dafm_core.wrapping.checkpoints import Weights, assign
from dafm_plugin_tgcir.model import AttributeTokens, Composition
from dafm_plugin_tgcir.pickled_module import read_tensors_or_module

_CLIP = "backbone.clip."
_SEPARATE_TEXT = ("backbone.tokenlearn_text.", "backbone.masks_text.")  # another variant (SPN4CIR)
_UNUSED = (
    "backbone.image_backbone.",  # the vision tower a second time
    "backbone.clip.logit_scale",
    "local_weight",  # training only, as are those below
    "loss_T",
    "t_remain_map.",
    "t_replace_map.",
)


@dataclass(frozen=True)
class TgCir:
    """All parts of the model."""

    vision: VisionTower
    text: TextTower
    tokens: AttributeTokens
    composition: Composition


def load_tgcir(path: Path, where: str, *, dtype: torch.dtype = torch.float32) -> TgCir:
    """Return the model in a pickled module, a state dict, or ``{"state_dict": ...}``.

    The towers compute in ``dtype``, the few layers behind them in float32.

    Raises
    ------
    ProviderError
        If the file is not such a checkpoint, or cannot be read without executing it.
    """
    where = f"{where}: checkpoint"
    content = read_tensors_or_module(path, where)
    entry = "state_dict" if "state_dict" in content else None
    weights = Weights.from_content(content, where, entry=entry)
    if variant := [key for key in weights if key.startswith(_SEPARATE_TEXT)]:
        raise ProviderError(
            f"{where}: expected masks shared by images and texts, got {variant[0]!r} ({path}), "
            "a variant that this provider does not compute. Give the authors' file."
        )
    vision = vision_transformer(weights, f"{_CLIP}visual.", dtype=dtype)
    text = text_tower(weights, _CLIP, dtype=dtype)
    tokens, composition = _heads(weights)
    weights.report_unused(ignored=_UNUSED)
    dims = {tokens.masks.embedding_dim, vision.embed_dim, text.embed_dim}
    if len(dims) > 1:
        raise ProviderError(
            f"{where}: expected one width of masks, image and text features, got {sorted(dims)} "
            f"({path}). Is this the checkpoint of another model?"
        )
    return TgCir(vision, text, tokens, composition)


def _heads(weights: Weights) -> tuple[AttributeTokens, Composition]:
    n_global, dim = weights.shape("backbone.masks.weight", 2)
    n_local = weights.count("backbone.tokenlearn.tokenizers")
    _, image_width = weights.shape(f"{_CLIP}visual.positional_embedding", 2)
    _, text_width = weights.shape(f"{_CLIP}positional_embedding", 2)
    with torch.device("meta"):
        tokens = AttributeTokens(dim, image_width, text_width, n_global, n_local)
        composition = Composition(dim)
    tensors = {
        key: (f"backbone.{key}", weights.take(f"backbone.{key}"))
        for key in tokens.state_dict()
        if not key.startswith("attention.")
    }
    assign(tokens, tensors | _attentions(weights, n_local, dim), weights.where)
    own = {key: (key, weights.take(key)) for key in composition.state_dict()}
    assign(composition, own, weights.where)
    return tokens, composition


def _attentions(weights: Weights, n_local: int, dim: int) -> dict[str, tuple[str, Tensor]]:
    """Return the convolutions of width one, each with one output, as one linear layer."""
    stacked = {}
    for part, shape in (("weight", (1, dim, 1)), ("bias", (1,))):
        keys = [f"backbone.tokenlearn.tokenizers.{s}.conv.0.{part}" for s in range(n_local)]
        for key in keys:
            if weights.shape(key, len(shape)) != shape:
                raise ProviderError(
                    f"{weights.where}: expected shape {shape} for {key!r}, got "
                    f"{weights.shape(key, len(shape))}. Is this the checkpoint of another model?"
                )
        rows = torch.cat([weights.take(key) for key in keys])
        stacked[f"attention.{part}"] = keys[0], rows.squeeze(-1) if part == "weight" else rows
    return stacked
