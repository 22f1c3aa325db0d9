"""What the TG-CIR plugin offers, described without importing the model."""

from __future__ import annotations

from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl

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
    Option(
        name="vocabulary",
        default="openai/clip-vit-base-patch16",
        summary="CLIP merges: bpe_simple_vocab_16e6.txt.gz, merges.txt, a folder or a model name",
    ),
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
    Option(name="device", summary="cpu, cuda, cuda:1, ...; a GPU where there is one if left out"),
    Option(
        name="dtype",
        default="float32",
        choices=("float32", "float16", "bfloat16"),
        summary="what the towers compute in",
    ),
    Option(name="batch_size", kind="int", default=32, summary="images or texts in one pass"),
    Option(name="workers", kind="int", default=0, summary="processes that decode images"),
)
