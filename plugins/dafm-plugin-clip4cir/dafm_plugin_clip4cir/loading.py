"""From CLIP4CIR's two released files to modules, and how GPU runs rounded them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch

from dafm_core.errors import OptionError, ProviderError
from dafm_core.wrapping.checkpoints import Weights, assign, read_checkpoint
from dafm_core.wrapping.clip.state_dict import Clip, clip_towers
from dafm_plugin_clip4cir.model import Combiner

logger = logging.getLogger(__name__)

_ROUNDED = re.compile(
    r"(^|\.)(conv\d|downsample\.0)\.weight$"  # downsample.1 is a batch norm
    r"|\.attn\.in_proj_(weight|bias)$"
    r"|\.(out_proj|c_fc|c_proj|q_proj|k_proj|v_proj)\.(weight|bias)$"
    r"|^text_projection$|^visual\.proj$"
)
_DATASETS = {"cirr": ("cirr",), "fashioniq": ("fiq", "fashioniq", "fashion-iq", "fashion_iq")}


def load_clip(
    path: Path, where: str, *, dtype: torch.dtype = torch.float32, float16_rounding: bool = False
) -> Clip:
    """Return the fine-tuned CLIP in ``{"epoch", "CLIP"}``: a ResNet or a vision transformer.

    Parameters
    ----------
    path : Path
        The released file.
    where : str
        Provider, for messages.
    dtype : torch.dtype, default=torch.float32
        What is computed in.
    float16_rounding : bool, default=False
        Round the weights that the authors' GPU runs held in float16; computed in ``dtype``.

    Raises
    ------
    ProviderError
        If the file is not such a checkpoint.
    """
    where = f"{where}: checkpoint"
    weights = _read(path, where, entry="CLIP")
    if float16_rounding:
        weights = _round(weights)
    clip = clip_towers(weights, dtype=dtype)
    weights.report_unused(ignored=("logit_scale",))
    return clip


def load_combiner(path: Path, where: str, *, embed_dim: int) -> Combiner:
    """Return the Combiner in ``{"epoch", "Combiner"}``; ``embed_dim`` is that of its CLIP.

    It is computed in float32 whatever the towers are.

    Raises
    ------
    ProviderError
        If the file is not such a checkpoint, or was made for another width.
    """
    where = f"{where}: combiner"
    weights = _read(path, where, entry="Combiner")
    projection_dim, width = weights.shape("text_projection_layer.weight", 2)
    hidden_dim, _ = weights.shape("combiner_layer.weight", 2)
    if width != embed_dim:
        raise ProviderError(
            f"{where}: expected features of width {embed_dim} as in the checkpoint, got {width} "
            f"({path}). Give the two files that were published together."
        )
    with torch.device("meta"):
        model = Combiner(embed_dim, projection_dim, hidden_dim)
    assign(model, {key: (key, weights.take(key)) for key in model.state_dict()}, where)
    weights.report_unused()
    return model


def check_pair(checkpoint: Path, combiner: Path, where: str) -> None:
    """Raise OptionError where the names of two files say that they belong to different datasets.

    All released CLIP files have the same shapes, so nothing inside would tell.
    """
    found = [_dataset(checkpoint), _dataset(combiner)]
    if None not in found and found[0] != found[1]:
        raise OptionError(
            f"{where}: expected a checkpoint and a combiner of one dataset, got {checkpoint.name} "
            f"({found[0]}) and {combiner.name} ({found[1]}). Give the two that belong together."
        )


def _dataset(path: Path) -> str | None:
    name = path.name.lower()
    found = {dataset for dataset, parts in _DATASETS.items() if any(part in name for part in parts)}
    return found.pop() if len(found) == 1 else None


def _read(path: Path, where: str, *, entry: str) -> Weights:
    content = read_checkpoint(path, where)
    weights = Weights.from_content(content, where, entry=entry)
    if others := sorted(str(key) for key in content if key not in ("epoch", entry)):
        logger.warning("%s: %d entries are not used: %s", where, len(others), ", ".join(others[:5]))
    return weights


def _round(weights: Weights) -> Weights:
    """Return the weights as float16 stored them, but for norms and embeddings."""
    tensors = {key: weights.take(key) for key in weights}
    rounded = {
        key: tensor.half().to(tensor.dtype) if _ROUNDED.search(key) else tensor
        for key, tensor in tensors.items()
    }
    return Weights(rounded, weights.where)
