"""What this plugin offers, described without importing torch or any model library."""

from __future__ import annotations

from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl

dafm_api_version = 2

_LIBRARY = "Reimers and Gurevych, EMNLP 2019 (the library); each model has its own paper"
_LICENCE = "library Apache-2.0; every model has its own licence, many for research only"

_MODEL = (
    Option(name="model", required=True, summary="folder, or name on the Hugging Face hub"),
    Option(name="revision", summary="commit, tag or branch of a model of the hub"),
    Option(
        name="trust_remote_code",
        kind="bool",
        default=False,
        summary="run Python code that comes with the model; needs revision=COMMIT",
    ),
)
_CAPTIONS = Option(
    name="captions",
    kind="path",
    summary="JSON object, image id -> list of captions: read images through these, not as pixels",
)
_COMPUTING = (
    Option(name="device", summary="cpu, cuda, cuda:1, ...; a GPU where there is one"),
    Option(
        name="dtype",
        default="float32",
        choices=("float32", "float16", "bfloat16"),
        summary="of weights and activations",
    ),
    Option(name="batch_size", kind="int", default=32, summary="inputs at a time"),
    Option(name="workers", kind="int", default=0, summary="threads that open images"),
    Option(
        name="long_texts",
        default="refuse",
        choices=("refuse", "cut"),
        summary="what becomes of a query's text that the model cannot read to its end",
    ),
)
_PROMPT = Option(name="prompt", summary="instruction before queries; by default the model's own")
_EMBEDDING = (
    *_MODEL,
    Option(
        name="compose",
        default="auto",
        choices=("auto", "joint", "sum", "text", "image"),
        summary="what a query is: one input, a sum of vectors, or a part; auto: the first possible",
    ),
    _PROMPT,
    Option(name="gallery_prompt", summary="instruction before candidates; default: the model's"),
    _CAPTIONS,
)


@hookimpl
def dafm_similarity_providers() -> list[ProviderInfo]:
    """Describe the three providers."""
    return [
        ProviderInfo(
            name="st",
            summary="any dense model of sentence-transformers: one vector per text or image",
            factory="dafm_plugin_sentence_transformers.dense:load",
            references="any",
            citation=_LIBRARY,
            licence=_LICENCE,
            options=(
                *_EMBEDDING,
                Option(
                    name="weight",
                    kind="float",
                    default=1.0,
                    summary="of the reference beside the text, for compose=sum",
                ),
                Option(name="dimensions", kind="int", summary="keep the first so many only"),
                *_COMPUTING,
            ),
        ),
        ProviderInfo(
            name="st-multivector",
            summary="any late-interaction model: a vector per token, the best match of each counts",
            factory="dafm_plugin_sentence_transformers.multivector:load",
            references="any",
            citation="Khattab and Zaharia, ColBERT, SIGIR 2020; Faysse et al., ColPali, ICLR 2025",
            licence=_LICENCE,
            options=(
                *_EMBEDDING,
                Option(
                    name="max_vectors",
                    kind="int",
                    default=256,
                    summary="room for so many vectors per candidate; more are an error",
                ),
                *_COMPUTING,
            ),
        ),
        ProviderInfo(
            name="st-reranker",
            summary="any cross-encoder: scores pairs of a shortlist",
            factory="dafm_plugin_sentence_transformers.reranker:load",
            references="any",
            citation=_LIBRARY,
            licence=_LICENCE,
            options=(
                *_MODEL,
                Option(
                    name="compose",
                    default="auto",
                    choices=("auto", "joint", "text"),
                    summary="what a query is: references and text, or the text alone",
                ),
                _PROMPT,
                _CAPTIONS,
                Option(
                    name="activation",
                    default="model",
                    choices=("model", "none"),
                    summary="none: the raw scores, which do not crowd together near 1",
                ),
                *_COMPUTING,
            ),
        ),
    ]
