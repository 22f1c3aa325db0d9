"""What this plugin offers, described without importing any model."""

from __future__ import annotations

from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl
from dafm_core.wrapping.options import CAPTIONS, clip_vocabulary, compute_options

dafm_api_version = 2

_REVISION = Option(name="revision", summary="commit, tag or branch of a model of the hub")
_COMPUTE = compute_options(batch_size=32)
_CLIP = (
    Option(
        name="model",
        required=True,
        summary="folder or hub name; for open_clip also ARCH:TAG, ARCH:FILE",
    ),
    Option(
        name="library",
        default="transformers",
        choices=("transformers", "open_clip"),
        summary="which library reads the model",
    ),
    Option(
        name="compose",
        default="sum",
        choices=("text", "image", "rows", "sum"),
        summary="of a query: one part alone, or both rows or both features added",
    ),
    Option(
        name="weight",
        kind="float",
        default=1.0,
        summary="of the reference beside the text",
    ),
    Option(name="template", default="{caption}", summary="what is read for a text"),
    _REVISION,
    *_COMPUTE,
)


def _phi(*, template: str) -> tuple[Option, ...]:
    return (
        Option(name="checkpoint", kind="path", required=True, summary="the released file"),
        Option(
            name="model",
            summary="CLIP: hub name, folder, or state dict in OpenAI's names; by default the "
            "released one",
        ),
        clip_vocabulary(),
        Option(name="template", default=template, summary="with one {caption} and the placeholder"),
        CAPTIONS,
        _REVISION,
        *_COMPUTE,
    )


@hookimpl
def dafm_similarity_providers() -> list[ProviderInfo]:
    """Describe the towers, and three models that see a reference as a word."""
    return [
        ProviderInfo(
            name="clip",
            summary="CLIP, SigLIP or SigLIP 2: text, reference image, or their sum",
            factory="dafm_plugin_clip.unimodal:load",
            references="any",
            citation="Radford et al., ICML 2021; Zhai et al., ICCV 2023; Tschannen et al., 2025; "
            "as a sum: Zhou et al., MegaPairs (BGE-VL), ACL 2025",
            licence="plugin Apache-2.0; of the weights: see the card of the model",
            options=_CLIP,
        ),
        ProviderInfo(
            name="pic2word",
            summary="Pic2Word: the reference as a word of CLIP ViT-L/14, zero-shot",
            factory="dafm_plugin_clip.provider:load_pic2word",
            references="one",
            citation="Saito et al., Pic2Word: Mapping Pictures to Words for Zero-shot Composed "
            "Image Retrieval, CVPR 2023, arXiv 2302.03084",
            licence="original code Apache-2.0, weights without stated terms; OpenAI CLIP MIT",
            options=_phi(template="a photo of * , {caption}"),
        ),
        ProviderInfo(
            name="searle",
            summary="SEARLE: the reference as a word of CLIP, by textual inversion, zero-shot",
            factory="dafm_plugin_clip.provider:load_searle",
            references="one",
            citation="Baldrati et al., Zero-Shot Composed Image Retrieval with Textual Inversion, "
            "ICCV 2023, arXiv 2303.15247",
            licence="original code and weights CC BY-NC 4.0; OpenAI CLIP MIT",
            options=_phi(template="a photo of $ that {caption}"),
        ),
        ProviderInfo(
            name="lincir",
            summary="LinCIR: the reference as a word of CLIP, trained on language alone, zero-shot",
            factory="dafm_plugin_clip.provider:load_lincir",
            references="one",
            citation="Gu et al., Language-only Training of Zero-shot Composed Image Retrieval, "
            "CVPR 2024, arXiv 2312.01998",
            licence="original code CC BY-NC 4.0, card of the weights Apache-2.0; OpenAI CLIP MIT",
            options=(
                *_phi(template="a photo of $ that {caption}"),
                Option(
                    name="float16_rounding",
                    kind="bool",
                    default=True,
                    summary="round CLIP's weights and the reference's pixels, as the authors do",
                ),
            ),
        ),
    ]
