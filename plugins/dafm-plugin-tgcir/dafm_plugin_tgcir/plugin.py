"""What the TG-CIR plugin offers, described without importing the model."""

from __future__ import annotations

from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl
from dafm_core.wrapping.options import clip_vocabulary, compute_options

dafm_api_version = 2

CITATION = (
    "Wen, Zhang, Song, Wei, Nie: Target-Guided Composed Image Retrieval. "
    "ACM Multimedia 2023, arXiv 2309.01366"
)
LICENCE = "plugin Apache-2.0; original code GPL-3.0, none of it used; OpenAI CLIP MIT"


@hookimpl
def dafm_similarity_providers() -> list[ProviderInfo]:
    """Describe TG-CIR."""
    return [
        ProviderInfo(
            name="tgcir",
            summary="TG-CIR: fine-tuned CLIP ViT-B/16, attribute tokens of image and text composed",
            factory="dafm_plugin_tgcir.provider:load",
            references="one",
            citation=CITATION,
            licence=LICENCE,
            options=_OPTIONS,
        )
    ]


_OPTIONS = (
    Option(
        name="checkpoint",
        kind="path",
        required=True,
        summary="released module (read as data, never executed) or state dict, e.g. CIRR.pt",
    ),
    clip_vocabulary(),
    Option(
        name="cleaning",
        choices=("none", "fashioniq"),
        summary="clean-up of texts; fashioniq where corrections are given, else none",
    ),
    Option(
        name="corrections",
        kind="path",
        summary="spelling corrections of a FashionIQ category: correction_dict_CATEGORY.json",
    ),
    *compute_options(batch_size=32),
)
