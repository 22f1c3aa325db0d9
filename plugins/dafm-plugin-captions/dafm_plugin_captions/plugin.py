"""What this plugin offers, described without importing scikit-learn, bm25s or torch."""

from __future__ import annotations

from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl
from dafm_plugin_captions.prompts import PROMPT

dafm_api_version = 2

_CITATION = (
    "Wu et al., Training-free Zero-shot Composed Image Retrieval via Weighted Modality Fusion "
    "and Similarity, arXiv 2409.04918, uses captions of the candidates in the same way"
)
_CAPTIONS = Option(
    name="captions",
    kind="path",
    required=True,
    summary="JSON object: image id -> list of captions",
)
_ENCODING = (
    _CAPTIONS,
    Option(
        name="encoder",
        summary="sentence-transformers folder or model name; default: all-MiniLM-L6-v2 of the "
        "[offline] extra",
    ),
    Option(name="batch_size", kind="int", default=128, summary="sentences at a time"),
    Option(name="device", default="auto", summary="cpu, cuda, cuda:1, ...; auto prefers a GPU"),
)


_BM25 = (
    Option(name="k1", kind="float", default=1.2, summary="saturation of word counts"),
    Option(name="b", kind="float", default=0.75, summary="share of length correction"),
)
_EDITS = (
    Option(name="edits", kind="path", summary="JSON file of edited captions, see README"),
    Option(name="order", kind="path", summary="annotation file of queries, for edits without ids"),
    Option(name="field", summary="key of the texts in records; default: multi_MODEL_opt"),
    Option(
        name="combine",
        default="max",
        choices=("max", "mean"),
        summary="of the scores of several texts",
    ),
    Option(name="endpoint", summary="http://HOST:PORT of a language model, instead of edits"),
    Option(name="model", summary="as that server calls it"),
    Option(name="prompt", default=PROMPT, summary="with {caption} and {text} in it"),
    Option(name="n_texts", kind="int", default=1, summary="texts to ask for, per query"),
    Option(name="temperature", kind="float", default=0.0, summary="of the language model"),
    Option(
        name="send",
        kind="bool",
        default=False,
        summary="send requests; otherwise only say how many, and use what is cached",
    ),
    Option(name="key_env", summary="variable of the environment with the server's key"),
    Option(name="concurrency", kind="int", default=4, summary="requests at a time"),
    Option(name="timeout", kind="float", default=60.0, summary="seconds for an answer"),
    Option(name="retries", kind="int", default=5, summary="further tries of a busy server"),
    Option(name="cache", kind="path", summary="file of answers; default: by model"),
)
_EDITED = (
    "Karthik et al., CIReVL, ICLR 2024; Yang et al., LDRE, SIGIR 2024; SEIZE, ACM MM 2024, edit "
    "captions so"
)


def _reference_weight(default: float) -> Option:
    summary = "weight of the reference's captions beside the text"
    return Option(name="reference_weight", kind="float", default=default, summary=summary)


@hookimpl
def dafm_similarity_providers() -> list[ProviderInfo]:
    """Describe the providers."""
    return [
        ProviderInfo(
            name="captions-bm25",
            summary="BM25 of the modification text in the candidates' captions",
            factory="dafm_plugin_captions.lexical:Bm25Captions",
            references="any",
            citation="Lu, BM25S, arXiv 2407.03618",
            options=(_CAPTIONS, *_BM25),
        ),
        ProviderInfo(
            name="captions-tfidf",
            summary="TF-IDF cosine of text plus weighted reference captions",
            factory="dafm_plugin_captions.lexical:TfidfCaptions",
            references="any",
            citation=_CITATION,
            options=(_CAPTIONS, _reference_weight(0.5)),
        ),
        ProviderInfo(
            name="captions-sentence",
            summary="sentence-embedding cosine of text plus weighted reference captions",
            factory="dafm_plugin_captions.sentence:SentenceCaptions",
            references="any",
            citation=_CITATION,
            options=(*_ENCODING, _reference_weight(0.4)),
        ),
        ProviderInfo(
            name="captions-sentence-best",
            summary="sentence-embedding cosine of the text with a candidate's best caption",
            factory="dafm_plugin_captions.sentence:BestSentenceCaptions",
            references="any",
            citation=_CITATION,
            options=_ENCODING,
        ),
        ProviderInfo(
            name="edited-bm25",
            summary="BM25 of edited captions in the candidates' captions",
            factory="dafm_plugin_captions.edited:load_bm25",
            references="any",
            citation=_EDITED,
            options=(_CAPTIONS, *_EDITS, *_BM25),
        ),
        ProviderInfo(
            name="edited-sentence",
            summary="sentence-embedding cosine of edited captions with the candidates' captions",
            factory="dafm_plugin_captions.edited:load_sentence",
            references="any",
            citation=_EDITED,
            options=(*_ENCODING, *_EDITS),
        ),
        ProviderInfo(
            name="edited-clip",
            summary="cosine of edited captions with the candidates' pixels, by a CLIP",
            factory="dafm_plugin_captions.edited:load_clip",
            references="any",
            citation=_EDITED,
            options=(
                Option(
                    name="encoder",
                    required=True,
                    summary="folder or name of a sentence-transformers model of images and texts",
                ),
                Option(
                    name="captions",
                    kind="path",
                    summary="JSON object, image id -> captions: of references, for an endpoint",
                ),
                Option(name="batch_size", kind="int", default=32, summary="images at a time"),
                Option(name="device", summary="cpu, cuda, ...; a GPU where there is one"),
                *_EDITS,
            ),
        ),
    ]
