"""Late interaction: a vector per token, compared by the sum of each query vector's best match.

A candidate has at most ``max_vectors`` vectors; one with fewer repeats its first, and a query with
fewer than another has vectors of zeros: neither changes a score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from dafm_core.contract.descriptions import References
from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features, Similarity
from dafm_core.errors import DatasetError, OptionError, ProviderError
from dafm_core.wrapping.inference import Settings
from dafm_core.wrapping.precision import exact
from dafm_plugin_sentence_transformers.inputs import Input, Inputs, LongTexts, alike
from dafm_plugin_sentence_transformers.models import find, library_versions
from dafm_plugin_sentence_transformers.models import load as load_model

WHERE = "st-multivector"
CELLS = 2**24
"""Products of a query vector and a candidate vector held at a time: 64 MiB."""


class MultiVector:
    """The provider ``st-multivector``; made by :func:`load`."""

    geometry: Final = "max-dot"

    def __init__(
        self,
        model: Any,
        inputs: Inputs,
        settings: Settings,
        *,
        compose: str,
        prompt: str | None,
        gallery_prompt: str | None,
        max_vectors: int,
        fingerprint: dict[str, str],
    ) -> None:
        self.model, self.inputs, self.settings = model, inputs, settings
        self.compose, self.max_vectors, self.fingerprint = compose, max_vectors, fingerprint
        self.references: References = "none" if compose == "text" else "any"
        self._prompt, self._gallery_prompt = prompt, gallery_prompt
        self._n_dims = int(model.get_embedding_dimension() or 0)

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return the vectors of each image, (n, max_vectors, D); zeros where nothing is known."""
        features = np.zeros((len(images), self.max_vectors, self._n_dims), np.float32)
        for part in self.inputs.slices(len(images)):
            items = self.inputs.images(images[part])
            found = self._encode(items, self.model.encode_document, self._gallery_prompt)
            for row, image, vectors in zip(features[part], images[part], found, strict=True):
                if len(vectors) > self.max_vectors:
                    raise ProviderError(
                        f"{WHERE}: image {image.id!r}: expected at most {self.max_vectors} "
                        f"vectors, got {len(vectors)}. Give --set max_vectors={len(vectors)}."
                    )
                if len(vectors):
                    row[:] = vectors[0]
                    row[: len(vectors)] = vectors
        return features

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return the vectors of each query, (n, S, D), S being those of the longest."""
        found: list[Features] = []
        for part in self.inputs.slices(len(queries)):
            items = self._items(queries[part])
            found += self._encode(items, self.model.encode_query, self._prompt)
        longest = max(map(len, found), default=0)
        features = np.zeros((len(queries), longest, self._n_dims), np.float32)
        for row, vectors in zip(features, found, strict=True):
            if self.model.similarity_fn_name == "meanmaxsim":
                vectors = vectors / np.float32(max(1, len(vectors)))
            row[: len(vectors)] = vectors
        return features

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return the sum over a query's vectors of the best inner product, (n_queries, n_gallery).

        Multiplied a few candidates at a time, so that memory stays bounded.
        """
        n_queries, n_vectors, n_dims = queries.shape
        scores = np.zeros((n_queries, len(gallery)), np.float32)
        flat = queries.reshape(-1, n_dims)
        step = max(1, CELLS // max(1, len(flat) * gallery.shape[1]))
        for start in range(0, len(gallery), step):
            part = gallery[start : start + step]
            products = flat @ part.reshape(-1, n_dims).T  # (n S, c T)
            best = products.reshape(n_queries, n_vectors, len(part), -1).max(axis=3)
            scores[:, start : start + step] = best.sum(axis=1)
        return scores

    def _items(self, queries: Sequence[Query]) -> Sequence[Input | None]:
        if self.compose == "joint":
            return self.inputs.joint(queries)
        if self.compose == "text":
            return self.inputs.texts([query.text for query in queries])
        if any(len(query.references) != 1 for query in queries):
            raise DatasetError(
                f"{WHERE}: expected one reference per query for compose=image, got none or several."
            )
        return self.inputs.images([query.reference for query in queries])

    def _encode(
        self, items: Sequence[Input | None], encode: Callable[..., Any], prompt: str | None
    ) -> list[Features]:
        nothing = np.empty((0, self._n_dims), np.float32)
        found: list[Features] = [nothing] * len(items)
        for places in alike(items):
            with exact():
                answers = encode(
                    [items[place] for place in places],
                    prompt=prompt,
                    batch_size=self.settings.batch_size,
                    show_progress_bar=False,
                )
            for place, vectors in zip(places, answers, strict=True):
                found[place] = vectors.float().cpu().numpy()
        return found


def load(
    *,
    model: str,
    revision: str | None = None,
    trust_remote_code: bool = False,
    compose: str = "auto",
    prompt: str | None = None,
    gallery_prompt: str | None = None,
    captions: str | Path | None = None,
    max_vectors: int = 256,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 32,
    workers: int = 0,
    long_texts: LongTexts = "refuse",
) -> MultiVector:
    """Return the provider ``st-multivector``; parameters as :mod:`plugin` describes them.

    Raises
    ------
    ProviderError
        If the model cannot be had or loaded.
    OptionError
        If it does not allow what is asked of it. ``compose=sum`` has no meaning here: several
        vectors of two inputs do not add up.
    """
    settings = Settings.checked(
        WHERE, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    if max_vectors < 1:
        raise OptionError(f"{WHERE}: option 'max_vectors': expected 1 or more, got {max_vectors}.")
    source = find(model, revision, trust_remote_code=trust_remote_code, where=WHERE)
    encoder = load_model(
        "MultiVectorEncoder", source, settings, where=WHERE, trust_remote_code=trust_remote_code
    )
    inputs = Inputs(
        encoder,
        WHERE,
        captions=captions,
        settings=settings,
        prompt=encoder.prompts.get("query") if prompt is None else prompt,
        long_texts=long_texts,
    )
    chosen: str = inputs.choose(compose)
    if chosen == "sum" and compose == "auto":
        chosen = "text"
    if chosen == "sum":
        raise OptionError(
            f"{WHERE}: option 'compose': expected joint, text or image, got 'sum': vectors of "
            "tokens do not add up. Score text and image under two names, and fuse them."
        )
    return MultiVector(
        encoder,
        inputs,
        settings,
        compose=chosen,
        prompt=prompt,
        gallery_prompt=gallery_prompt,
        max_vectors=max_vectors,
        fingerprint={
            "model": source.identity,
            "library": library_versions(),
            "prompts": f"{prompt!r} for queries, {gallery_prompt!r} for candidates",
            "compose": chosen,
            "similarity": str(encoder.similarity_fn_name),
            "dtype": settings.dtype_name,
            **inputs.fingerprint,
        },
    )
