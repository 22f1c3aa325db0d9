"""Which kind of model some files are, so that none is loaded as another.

The library turns one kind into another when it is asked to: with a pooling that nobody trained, or
a head of random numbers. Such a model scores, and its scores mean nothing.
"""

from __future__ import annotations

import json
from typing import Any, Final

from dafm_core.errors import ProviderError

PROVIDERS: Final = {
    "SentenceTransformer": "st",
    "MultiVectorEncoder": "st-multivector",
    "CrossEncoder": "st-reranker",
}
"""The provider of each kind."""


def check_kind(kind: str, read: dict[str, Any], name: str, where: str) -> None:
    """Raise ProviderError unless a model is of a kind.

    Parameters
    ----------
    kind : str
        A key of :data:`PROVIDERS`.
    read : dict
        Content of ``config_sentence_transformers.json``, ``modules.json`` and ``config.json``, as
        far as they are there.
    name : str
        Folder or name of the model.
    where : str
        Start of the message: the provider.
    """
    found = _kind(read)
    if found == kind:
        return
    if found is None:
        head = str((read.get("config.json", {}).get("architectures") or [""])[0])
        if kind == "SentenceTransformer" or (
            kind == "CrossEncoder" and head.endswith("ForCausalLM")
        ):
            return  # an encoder without a head, or a language model that says yes or no
        raise ProviderError(
            f"{where}: expected a {kind}, got {name!r}, an encoder without the layer that makes it "
            "one. It would get random numbers for that; take a model that was trained so."
        )
    other = PROVIDERS.get(found)
    raise ProviderError(
        f"{where}: expected a {kind}, got {name!r}, a {found}. "
        + (f"Use --provider {other}." if other else "No provider here loads these.")
    )


def _kind(read: dict[str, Any]) -> str | None:
    stated = read.get("config_sentence_transformers.json", {}).get("model_type")
    heads = read.get("config.json", {}).get("architectures") or []
    if stated == "ColBERT" or (stated is None and "HF_ColBERT" in heads):
        return "MultiVectorEncoder"
    if stated is not None:
        return str(stated)
    if "modules.json" in read:
        return "SentenceTransformer"  # saved before kinds were named
    if any(str(head).endswith("ForSequenceClassification") for head in heads):
        return "CrossEncoder"
    return None


def parsed(text: str) -> Any:
    """Return JSON, or an empty object: what is wrong with the file, the library says."""
    try:
        return json.loads(text)
    except ValueError:
        return {}
