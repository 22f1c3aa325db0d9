"""What this plugin offers, described without importing torch or transformers."""

from __future__ import annotations

from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl

dafm_api_version = 2

_OPTIONS = (
    Option(name="checkpoint", kind="path", required=True, summary="the file the authors publish"),
    Option(
        name="vocabulary",
        default="bert-base-uncased",
        summary="WordPiece vocabulary: vocab.txt, a folder, or a model name",
    ),
    Option(name="vision_heads", kind="int", default=16, summary="heads of the image encoder"),
    Option(name="qformer_heads", kind="int", default=12, summary="heads of the Q-Former"),
    Option(name="device", summary="cpu, cuda, cuda:1, ...; a GPU where there is one"),
    Option(
        name="dtype",
        default="float32",
        choices=("float32", "float16", "bfloat16"),
        summary="matrices of the image encoder; everything after it is float32",
    ),
    Option(name="batch_size", kind="int", default=8, summary="images or queries at a time"),
    Option(name="workers", kind="int", default=0, summary="processes that decode images"),
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
