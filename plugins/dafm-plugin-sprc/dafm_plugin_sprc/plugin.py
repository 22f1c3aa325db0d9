"""What this plugin offers, described without importing torch or transformers."""

from __future__ import annotations

from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl
from dafm_core.wrapping.options import BERT_VOCABULARY, ENCODER_DTYPE, compute_options

dafm_api_version = 2

_OPTIONS = (
    Option(name="checkpoint", kind="path", required=True, summary="the file the authors publish"),
    BERT_VOCABULARY,
    Option(name="vision_heads", kind="int", default=16, summary="heads of the image encoder"),
    Option(name="qformer_heads", kind="int", default=12, summary="heads of the Q-Former"),
    *compute_options(batch_size=8, dtype=ENCODER_DTYPE),
)


@hookimpl
def dafm_similarity_providers() -> list[ProviderInfo]:
    """Describe both models."""
    return [
        ProviderInfo(
            name="sprc",
            summary="SPRC: sentence-level prompts on BLIP-2 (EVA ViT-g or CLIP ViT-L)",
            factory="dafm_plugin_sprc.provider:load_sprc",
            references="one",
            citation="Bai et al., Sentence-level Prompts Benefit Composed Image Retrieval, "
            "ICLR 2024",
            licence="original code and weights: no licence stated",
            options=_OPTIONS,
        ),
        ProviderInfo(
            name="sprc-spn",
            summary="SPRC+SPN: SPRC with a second training stage of scaled positives and negatives",
            factory="dafm_plugin_sprc.provider:load_sprc_spn",
            references="one",
            citation="Feng et al., Improving Composed Image Retrieval via Contrastive Learning "
            "with Scaling Positives and Negatives, ACM MM 2024",
            licence="original code and weights: MIT",
            options=_OPTIONS,
        ),
    ]
