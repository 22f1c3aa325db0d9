"""From a TG-CIR checkpoint, in any of its three forms, to modules.

The names of the original (GPL-3.0) stand here and nowhere else, as strings: they are the keys of
its files.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dafm_core.errors import ProviderError
from dafm_core.wrapping.checkpoints import Weights, assign
from dafm_core.wrapping.clip.state_dict import clip_towers
from dafm_plugin_tgcir.model import AttributeTokens, Composition, TgCir
from dafm_plugin_tgcir.pickled_module import read_tensors_or_module

_CLIP = "backbone.clip."
_TOKENS = {
    "from_image.weight": "backbone.fc.weight",
    "from_image.bias": "backbone.fc.bias",
    "from_text.weight": "backbone.text_fc.weight",
    "from_text.bias": "backbone.text_fc.bias",
    "gates": "backbone.masks.weight",
}
_SEPARATE_TEXT = ("backbone.tokenlearn_text.", "backbone.masks_text.")  # another variant (SPN4CIR)
_UNUSED = (
    "backbone.image_backbone.",  # the vision tower a second time
    "backbone.clip.logit_scale",
    "local_weight",  # training only, as are those below
    "loss_T",
    "t_remain_map.",
    "t_replace_map.",
)


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
            f"{where}: expected images and texts to share their layers, got {variant[0]!r} "
            f"({path}), a variant that this provider does not compute. Give the authors' file."
        )
    clip = clip_towers(weights, _CLIP, dtype=dtype)
    dim = clip.text.embed_dim
    model = TgCir(clip, _tokens(weights, dim), _composition(weights, dim))
    weights.report_unused(ignored=_UNUSED)
    return model


def _tokens(weights: Weights, dim: int) -> AttributeTokens:
    n_global, width = weights.shape(_TOKENS["gates"], 2)
    n_local = weights.count("backbone.tokenlearn.tokenizers")
    _, image_width = weights.shape(f"{_CLIP}visual.positional_embedding", 2)
    _, text_width = weights.shape(f"{_CLIP}positional_embedding", 2)
    if width != dim:
        raise ProviderError(
            f"{weights.where}: expected {dim} columns, as CLIP's features have, for "
            f"{_TOKENS['gates']!r}, got {width}. Is this the checkpoint of another model?"
        )
    with torch.device("meta"):
        tokens = AttributeTokens(dim, image_width, text_width, n_global, n_local)
    tensors = {key: (name, weights.take(name)) for key, name in _TOKENS.items()}
    assign(tokens, tensors | _attentions(weights, n_local, dim), weights.where)
    return tokens


def _composition(weights: Weights, dim: int) -> Composition:
    with torch.device("meta"):
        composition = Composition(dim)
    names = {key: key.replace("mixer", "s_remain_map") for key in composition.state_dict()}
    tensors = {key: (name, weights.take(name)) for key, name in names.items()}
    assign(composition, tensors, weights.where)
    return composition


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
