"""Providers whose queries are edited captions: any provider that reads texts, asked with others.

A query with several texts gets the best of their scores, or the mean. Where the texts come from
stands in ``edits.py`` (a file) and ``writer.py`` (a language model).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import EncodingProvider, Features, Similarity, SimilarityProvider
from dafm_core.errors import OptionError
from dafm_core.wrapping.caption_file import CaptionFile
from dafm_core.wrapping.endpoint.answers import Answers
from dafm_core.wrapping.endpoint.client import Client
from dafm_plugin_captions.edits import Edits
from dafm_plugin_captions.lexical import Bm25Captions
from dafm_plugin_captions.prompts import PROMPT
from dafm_plugin_captions.sentence import SentenceCaptions
from dafm_plugin_captions.writer import Writer

Combine: TypeAlias = Literal["max", "mean"]


class Source(Protocol):
    """Where the texts of queries come from."""

    def of(self, queries: Sequence[Query]) -> list[tuple[str, ...]]:
        """Return at least one text per query."""
        ...


class _Edited:
    """What edited providers share: their queries, their passport, their bill."""

    references = "any"

    def __init__(
        self, inner: Any, source: Source, *, combine: str, fingerprint: dict[str, str], where: str
    ) -> None:
        if combine not in ("max", "mean"):
            raise OptionError(f"{where}: option 'combine': expected max or mean, got {combine!r}.")
        self._inner, self._source, self._combine = inner, source, combine
        own = {f"scored_{name}": value for name, value in inner.fingerprint.items()}
        self.fingerprint = {**own, **fingerprint, "combine": combine}

    def prepare(self, queries: Sequence[Query], gallery: Sequence[ImageRef]) -> None:
        """Say what a language model will be asked."""
        if isinstance(self._source, Writer):
            self._source.prepare(queries)

    def _asked(self, queries: Sequence[Query]) -> tuple[list[Query], list[int]]:
        """Return a query without references per text, and where each query's texts start."""
        rows = self._source.of(queries)
        starts = np.cumsum([0, *(len(texts) for texts in rows)]).tolist()
        asked = [
            Query(id=query.id, references=(), text=text)
            for query, texts in zip(queries, rows, strict=True)
            for text in texts
        ]
        return asked, starts[:-1]

    def _combined(self, rows: Similarity, starts: Sequence[int]) -> Similarity:
        """Return one row per query of the rows of all texts."""
        if not len(starts):
            return rows
        if self._combine == "max":
            return np.asarray(np.maximum.reduceat(rows, starts, axis=0), np.float32)
        counts = np.diff([*starts, len(rows)]).astype(np.float32)
        sums = np.add.reduceat(rows, starts, axis=0)
        return np.asarray(sums / counts[:, None], np.float32)


class EditedRows(_Edited):
    """Scores of a provider that does not factor, for edited texts."""

    _inner: SimilarityProvider

    def similarity(self, queries: Sequence[Query], gallery: Sequence[ImageRef]) -> Similarity:
        """Return combined scores, (len(queries), len(gallery))."""
        asked, starts = self._asked(queries)
        return self._combined(self._inner.similarity(asked, gallery), starts)


class EditedVectors(_Edited):
    """Inner products of a provider's features, for edited texts.

    A query is (S, D): its texts' vectors, as many as the longest query has. Of fewer the first is
    repeated, for the best score; for the mean there is one vector, their mean.
    """

    _inner: EncodingProvider

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return the provider's own features."""
        return self._inner.encode_gallery(images)

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return the vectors of each query's texts, (n, S, D)."""
        asked, starts = self._asked(queries)
        vectors = self._inner.encode_queries(asked)
        if self._combine == "mean":
            return self._combined(vectors, starts)[:, None]
        counts = np.diff([*starts, len(asked)])
        longest = int(counts.max(initial=1))
        slots = np.arange(longest)
        places = np.array(starts, np.int64)[:, None] + np.where(
            slots < counts[:, None], slots, 0
        )  # (n, S)
        return vectors[places.reshape(len(queries), longest)]

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return the best inner product over a query's vectors, (len(queries), len(gallery))."""
        best = np.asarray(queries[:, 0] @ gallery.T, np.float32)
        for slot in range(1, queries.shape[1]):
            np.maximum(best, queries[:, slot] @ gallery.T, out=best)
        return best


def load_bm25(
    *,
    captions: str | Path,
    edits: str | Path | None = None,
    order: str | Path | None = None,
    field: str | None = None,
    combine: str = "max",
    k1: float = 1.2,
    b: float = 0.75,
    endpoint: str | None = None,
    model: str | None = None,
    prompt: str = PROMPT,
    n_texts: int = 1,
    temperature: float = 0.0,
    send: bool = False,
    key_env: str | None = None,
    concurrency: int = 4,
    timeout: float = 60.0,
    retries: int = 5,
    cache: str | Path | None = None,
) -> EditedRows:
    """Return the provider ``edited-bm25``; parameters as :mod:`plugin` describes them."""
    source, fingerprint = _source("edited-bm25", **_asking(locals()))
    inner = Bm25Captions(captions=captions, k1=k1, b=b)
    return EditedRows(inner, source, combine=combine, fingerprint=fingerprint, where="edited-bm25")


def load_sentence(
    *,
    captions: str | Path,
    encoder: str | Path | None = None,
    batch_size: int = 128,
    device: str = "auto",
    edits: str | Path | None = None,
    order: str | Path | None = None,
    field: str | None = None,
    combine: str = "max",
    endpoint: str | None = None,
    model: str | None = None,
    prompt: str = PROMPT,
    n_texts: int = 1,
    temperature: float = 0.0,
    send: bool = False,
    key_env: str | None = None,
    concurrency: int = 4,
    timeout: float = 60.0,
    retries: int = 5,
    cache: str | Path | None = None,
) -> EditedVectors:
    """Return the provider ``edited-sentence``; parameters as :mod:`plugin` describes them."""
    source, fingerprint = _source("edited-sentence", **_asking(locals()))
    inner = SentenceCaptions(
        captions=captions, encoder=encoder, batch_size=batch_size, device=device
    )
    return EditedVectors(
        inner, source, combine=combine, fingerprint=fingerprint, where="edited-sentence"
    )


def load_clip(
    *,
    encoder: str,
    captions: str | Path | None = None,
    batch_size: int = 32,
    device: str | None = None,
    edits: str | Path | None = None,
    order: str | Path | None = None,
    field: str | None = None,
    combine: str = "max",
    endpoint: str | None = None,
    model: str | None = None,
    prompt: str = PROMPT,
    n_texts: int = 1,
    temperature: float = 0.0,
    send: bool = False,
    key_env: str | None = None,
    concurrency: int = 4,
    timeout: float = 60.0,
    retries: int = 5,
    cache: str | Path | None = None,
) -> EditedVectors:
    """Return the provider ``edited-clip``; parameters as :mod:`plugin` describes them.

    Raises
    ------
    OptionError
        If dafm-plugin-sentence-transformers, which reads the images, is not installed.
    """
    where = "edited-clip"
    try:
        from dafm_plugin_sentence_transformers.dense import load
    except ImportError:
        raise OptionError(
            f"{where}: images are read by another plugin. Run pip install "
            "dafm-plugin-sentence-transformers."
        ) from None
    source, fingerprint = _source(where, **_asking(locals()))
    inner = load(
        model=encoder, compose="text", batch_size=batch_size, device=device, long_texts="cut"
    )
    return EditedVectors(inner, source, combine=combine, fingerprint=fingerprint, where=where)


_ASKING = (
    *("captions", "edits", "order", "field", "endpoint", "model", "prompt", "n_texts"),
    *("temperature", "send", "key_env", "concurrency", "timeout", "retries", "cache"),
)


def _asking(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that say where texts come from."""
    return {name: given[name] for name in _ASKING}


def _source(
    where: str,
    *,
    captions: str | Path | None,
    edits: str | Path | None,
    order: str | Path | None,
    field: str | None,
    endpoint: str | None,
    model: str | None,
    prompt: str,
    n_texts: int,
    temperature: float,
    send: bool,
    key_env: str | None,
    concurrency: int,
    timeout: float,
    retries: int,
    cache: str | Path | None,
) -> tuple[Source, dict[str, str]]:
    """Return where texts come from, and what of it a passport names."""
    if (edits is None) == (endpoint is None):
        raise OptionError(
            f"{where}: expected edited captions from one place, got "
            f"{'none' if edits is None else 'two'}. Give --set edits=FILE, or --set endpoint=URL "
            "and --set model=NAME."
        )
    if edits is not None:
        file = Edits.read(edits, order=order, field=field)
        return file, {"edits_sha256": file.sha256}
    if model is None or captions is None:
        lacking = "model" if model is None else "captions"
        raise OptionError(
            f"{where}: option {lacking!r} is required with an endpoint. Give it as "
            f"--set {lacking}=VALUE."
        )
    client = Client(
        str(endpoint),
        key_env=key_env,
        timeout=timeout,
        retries=retries,
        concurrency=concurrency,
        where=where,
    )
    file_of_references = CaptionFile.read(captions)
    identity = {"endpoint": client.url, "model": model, "temperature": f"{temperature:g}"}
    writer = Writer(
        client,
        Answers(identity, path=cache, where=where),
        file_of_references,
        model=model,
        prompt=prompt,
        n_texts=n_texts,
        temperature=temperature,
        send=send,
        where=where,
    )
    asked = {"prompt": prompt, "n_texts": str(n_texts)}
    return writer, {**identity, **asked, "reference_captions_sha256": file_of_references.sha256}
