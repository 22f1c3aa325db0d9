"""What the CLIP4CIR plugin offers, described without importing the model."""

from __future__ import annotations

from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl
from dafm_core.wrapping.options import clip_vocabulary, compute_options

dafm_api_version = 2

CITATION = (
    "Baldrati, Bertini, Uricchio, Del Bimbo: Composed Image Retrieval using Contrastive Learning "
    "and Task-oriented CLIP-based Features. ACM TOMM 2023, arXiv 2308.11485"
)
LICENCE = "plugin Apache-2.0; original code and OpenAI CLIP MIT; weights without stated terms"

_CHECKPOINT = Option(
    name="checkpoint",
    kind="path",
    required=True,
    summary="fine-tuned CLIP, e.g. cirr_clip_RN50x4_fullft.pt",
)
_COMBINER = Option(
    name="combiner",
    kind="path",
    required=True,
    summary="Combiner of the same dataset, e.g. cirr_comb_RN50x4_fullft.pt",
)
_SHARED = (
    clip_vocabulary(),
    *compute_options(batch_size=16),
    Option(
        name="float16_rounding",
        kind="bool",
        default=False,
        summary="round weights through float16, as the authors' GPU runs did; computes in dtype",
    ),
)


@hookimpl
def dafm_similarity_providers() -> list[ProviderInfo]:
    """Describe CLIP4CIR and its first training stage."""
    return [
        ProviderInfo(
            name="clip4cir",
            summary="CLIP4CIR: fine-tuned CLIP, image and text combined by a learned Combiner",
            factory="dafm_plugin_clip4cir.provider:load",
            references="one",
            citation=CITATION,
            licence=LICENCE,
            options=(_CHECKPOINT, _COMBINER, *_SHARED),
        ),
        ProviderInfo(
            name="clip4cir-sum",
            summary="CLIP4CIR, first stage alone: fine-tuned CLIP, sum of image and text",
            factory="dafm_plugin_clip4cir.provider:load_sum",
            references="one",
            citation=CITATION,
            licence=LICENCE,
            options=(_CHECKPOINT, *_SHARED),
        ),
    ]
