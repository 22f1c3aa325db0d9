"""Which of the published files this is, and what it holds that nobody needs.

Names and sizes of what stands in it are ``dafm_core.wrapping.blip2.layout``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
