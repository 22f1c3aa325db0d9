"""The CLIP behind a pseudo word: from a folder of ``transformers``, or a state dict of OpenAI's.

Activation, heads and sizes of a folder come from its ``config.json``; those of a state dict from
shapes, as in ``dafm_core.wrapping.clip.state_dict``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from dafm_core.errors import ProviderError
from dafm_core.ground.files import sha256_of
from dafm_core.ground.platform import page_out
from dafm_core.ground.printable import first_line
from dafm_core.ground.sources import source_json
from dafm_core.wrapping.checkpoints import Weights, assign, read_checkpoint
from dafm_core.wrapping.clip.state_dict import Clip, clip_towers
from dafm_core.wrapping.clip.towers import TextTower, VisionTransformer
from dafm_plugin_clip.source import find

_UNUSED = (
    "logit_scale",
    "text_model.embeddings.position_ids",
    "vision_model.embeddings.position_ids",
    "input_resolution",  # three integers of OpenAI's files
    "context_length",
    "vocab_size",
)


def load_clip(
    model: str, revision: str | None, where: str, *, dtype: torch.dtype, float16_rounding: bool
) -> tuple[Clip, dict[str, str]]:
    """Return both towers, and what a passport says of them.

    Parameters
    ----------
    model : str
        A folder with ``config.json`` and weights, a name of the hub, or a file: a state dict in
        OpenAI's names.
    revision : str or None
        Of a model of the hub.
    where : str
        Start of every message.
    dtype : torch.dtype
        What the towers compute in.
    float16_rounding : bool
        Whether every tensor is rounded to float16 first.

    Raises
    ------
    ProviderError
        If a file is missing, damaged, or holds no CLIP.
    """
    where = f"{where}: model"
    path = Path(model).expanduser()
    if path.is_file():
        content = read_checkpoint(path, where)
        entry = "state_dict" if isinstance(content, dict) and "state_dict" in content else None
        weights = Weights.from_content(content, where, entry=entry)
        clip = clip_of_openai(weights, dtype=dtype, float16_rounding=float16_rounding)
        return clip, {"clip_sha256": sha256_of(path)}
    source = find(model, revision, where)
    files = source.weight_files(where)
    weights = Weights(_tensors(files, where), where)
    passport = {"clip_sha256": source.sha256(files), "clip_revision": source.revision}
    if float16_rounding:
        weights = rounded(weights)
    clip = _clip_of_folder(source.folder, weights, dtype)
    weights.report_unused(_UNUSED)
    return clip, passport


def clip_of_openai(weights: Weights, *, dtype: torch.dtype, float16_rounding: bool) -> Clip:
    """Return the towers of a state dict in OpenAI's names."""
    if float16_rounding:
        weights = rounded(weights)
    clip = clip_towers(weights, dtype=dtype)
    weights.report_unused(_UNUSED)
    return clip


def rounded(weights: Weights) -> Weights:
    """Return the weights as float16 stored them, embeddings and norms included.

    They are copies: pages of the file are let go one tensor at a time, or the model would be in
    memory twice.
    """
    tensors = {}
    for key in weights:
        stored = tensors[key] = weights.take(key)
        if stored.is_floating_point():
            tensors[key] = stored.half().float()
            if stored.is_contiguous():
                page_out(stored.data_ptr(), stored.nbytes)
    return Weights(tensors, weights.where)


def _tensors(files: list[Path], where: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in files:
        if path.suffix == ".bin":
            content = read_checkpoint(path, where)
            own = Weights.from_content(content, where)
            tensors |= {key: own.take(key) for key in own}
            continue
        try:
            with safe_open(path, framework="pt") as file:
                tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except Exception as error:  # a damaged header may raise anything
            reason = first_line(error)
            raise ProviderError(f"{where}: {path} is damaged ({reason}).") from None
    return tensors


def _clip_of_folder(folder: Path, weights: Weights, dtype: torch.dtype) -> Clip:
    where = weights.where
    text_config, vision_config = _configs(folder, where)
    with torch.device("meta"):
        text = CLIPTextModelWithProjection(text_config)
        vision = CLIPVisionModelWithProjection(vision_config)
    for module, part in ((text, "text_model"), (vision, "vision_model")):
        positions = module.get_parameter(f"{part}.embeddings.position_embedding.weight")
        buffer = torch.arange(len(positions)).unsqueeze(0)
        assign(
            module,
            {key: (key, weights.take(key)) for key in module.state_dict()},
            where,
            dtype=dtype,
            buffers={f"{part}.embeddings.position_ids": buffer},
        )
    return Clip(VisionTransformer(vision), TextTower(text))


def _configs(folder: Path, where: str) -> tuple[CLIPTextConfig, CLIPVisionConfig]:
    path = folder / "config.json"
    try:
        facts = source_json(path)
        kind = facts.get("model_type")
    except (OSError, ValueError, AttributeError):
        raise ProviderError(f"{where}: expected a config.json in {folder}, got none.") from None
    if kind != "clip":
        raise ProviderError(
            f"{where}: expected a CLIP model, got {kind!r} ({path}). Give the CLIP that the "
            "checkpoint was trained with."
        )
    config = CLIPConfig.from_dict(facts)
    text, vision = config.text_config, config.vision_config
    assert isinstance(text, CLIPTextConfig), "made of facts above"
    assert isinstance(vision, CLIPVisionConfig), "made of facts above"
    assert config.projection_dim is not None, "has a default"
    text.projection_dim = vision.projection_dim = config.projection_dim
    return text, vision
