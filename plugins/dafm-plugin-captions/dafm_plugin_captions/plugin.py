"""What this plugin offers, described without importing scikit-learn, bm25s or torch."""

from __future__ import annotations

from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl

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


def _reference_weight(default: float) -> Option:
    summary = "weight of the reference's captions beside the text"
    return Option(name="reference_weight", kind="float", default=default, summary=summary)


@hookimpl
def dafm_similarity_providers() -> list[ProviderInfo]:
    """Describe the four providers."""
    return [
        ProviderInfo(
            name="captions-bm25",
            summary="BM25 of the modification text in the candidates' captions",
            factory="dafm_plugin_captions.lexical:Bm25Captions",
            references="any",
            citation="Lu, BM25S, arXiv 2407.03618",
            options=(
                _CAPTIONS,
                Option(name="k1", kind="float", default=1.2, summary="saturation of word counts"),
                Option(name="b", kind="float", default=0.75, summary="share of length correction"),
            ),
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
    ]
