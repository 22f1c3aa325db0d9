"""What this plugin offers, described without importing torch or transformers."""

from __future__ import annotations

from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl
from dafm_core.wrapping.options import BERT_VOCABULARY, ENCODER_DTYPE, compute_options

dafm_api_version = 2

_CHECKPOINT = Option(
    name="checkpoint",
    kind="path",
    required=True,
    summary="the authors' file, e.g. cirr_ft-covr+gt.ckpt",
)
_VISION_HEADS = Option(
    name="vision_heads", kind="int", default=16, summary="heads of the image encoder"
)
_COMPUTE = compute_options(batch_size=8, dtype=ENCODER_DTYPE)


@hookimpl
def dafm_similarity_providers() -> list[ProviderInfo]:
    """Describe both models."""
    return [
        ProviderInfo(
            name="covr-blip",
            summary="CoVR-BLIP: image-grounded BLIP ViT-L, trained on triplets made from captions",
            factory="dafm_plugin_covr.provider:load_blip",
            references="one",
            citation="Ventura et al., CoVR: Learning Composed Video Retrieval from Web Video "
            "Captions, AAAI 2024, arXiv 2308.14746",
            licence="original code and weights: MIT; BLIP: BSD-3-Clause",
            options=(
                _CHECKPOINT,
                BERT_VOCABULARY,
                _VISION_HEADS,
                Option(
                    name="text_heads", kind="int", default=12, summary="heads of the text encoder"
                ),
                *_COMPUTE,
            ),
        ),
        ProviderInfo(
            name="covr-blip2",
            summary="CoVR-2: BLIP-2 Q-Former for the query, another one for the gallery",
            factory="dafm_plugin_covr.provider:load_blip2",
            references="one",
            citation="Ventura et al., CoVR-2: Automatic Data Construction for Composed Video "
            "Retrieval, IEEE TPAMI 2024",
            licence="original code: MIT, weights: not read; BLIP-2 and LAVIS: BSD-3-Clause",
            options=(
                _CHECKPOINT,
                Option(
                    name="gallery_checkpoint",
                    kind="path",
                    required=True,
                    summary="LAVIS' blip2_finetune_coco.pth, which encodes the gallery",
                ),
                Option(
                    name="score",
                    default="max",
                    choices=("max", "mean"),
                    summary="of 32 x 32 pairs: max for CIRR, mean for FashionIQ and CIRCO",
                ),
                BERT_VOCABULARY,
                _VISION_HEADS,
                Option(
                    name="qformer_heads", kind="int", default=12, summary="heads of the Q-Formers"
                ),
                *_COMPUTE,
            ),
        ),
    ]
