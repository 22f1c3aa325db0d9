"""What this plugin offers, described without importing torch or transformers."""

from __future__ import annotations

from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl
from dafm_core.wrapping.options import BERT_VOCABULARY, CAPTIONS, ENCODER_DTYPE, compute_options

dafm_api_version = 2

_COMMON = (
    BERT_VOCABULARY,
    Option(name="vision_heads", kind="int", default=12, summary="heads of the image encoder"),
    Option(name="text_heads", kind="int", default=12, summary="heads of the text encoder"),
    *compute_options(batch_size=8, dtype=ENCODER_DTYPE),
)
_BI = (
    Option(
        name="checkpoint",
        kind="path",
        required=True,
        summary="BLIP's pre-training file model_base.pth, for its image encoder",
    ),
    Option(name="text_encoder", kind="path", required=True, summary="the authors' tuned_blip_*.pt"),
    Option(name="image_size", kind="int", default=384, summary="side of the picture in pixels"),
    CAPTIONS,
)
_COMBINER = Option(
    name="combiner", kind="path", required=True, summary="the authors' combiner*.pt, same dataset"
)
_BI_CITATION = (
    "Liu et al., Bi-Directional Training for Composed Image Retrieval via Text Prompt Learning, "
    "WACV 2024"
)


@hookimpl
def dafm_similarity_providers() -> list[ProviderInfo]:
    """Describe the image-grounded model, and the bi-directional one with and without Combiner."""
    return [
        ProviderInfo(
            name="blip4cir",
            summary="image-grounded BLIP, the BLIP4CIR of result tables; also with SPN",
            factory="dafm_plugin_blip4cir.provider:load",
            references="one",
            citation="Liu et al., Candidate Set Re-ranking for Composed Image Retrieval with Dual "
            "Multi-modal Encoder, TMLR 2024",
            licence="original code: MIT; BLIP: BSD-3-Clause",
            options=(
                Option(name="checkpoint", kind="path", required=True, summary="the authors' file"),
                *_COMMON,
            ),
        ),
        ProviderInfo(
            name="blip4cir-bi",
            summary="BLIP4CIR+Bi: late fusion by a Combiner, trained in both directions",
            factory="dafm_plugin_blip4cir.provider:load_bi",
            references="one",
            citation=_BI_CITATION,
            licence="original code: MIT; BLIP: BSD-3-Clause",
            options=(*_BI, _COMBINER, *_COMMON),
        ),
        ProviderInfo(
            name="blip4cir-bi-sum",
            summary="first stage of BLIP4CIR+Bi: the sum of image and text, no Combiner",
            factory="dafm_plugin_blip4cir.provider:load_bi_sum",
            references="one",
            citation=_BI_CITATION,
            licence="original code: MIT; BLIP: BSD-3-Clause",
            options=(*_BI, *_COMMON),
        ),
    ]
