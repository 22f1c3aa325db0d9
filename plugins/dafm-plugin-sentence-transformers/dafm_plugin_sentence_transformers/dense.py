"""Dense models: one vector per text, image, or both as one input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features
from dafm_core.errors import OptionError, ProviderError
from dafm_core.wrapping.composing import ComposedEncoder
from dafm_core.wrapping.inference import Settings
from dafm_core.wrapping.precision import exact
from dafm_plugin_sentence_transformers.inputs import Input, Inputs, LongTexts, alike
from dafm_plugin_sentence_transformers.models import find, library_versions
from dafm_plugin_sentence_transformers.models import load as load_model

WHERE = "st"


class Dense:
    """An embedder of sentence-transformers, as :class:`ComposedEncoder` takes one.

    Candidates and references go through ``encode_document``, texts and joint inputs through
    ``encode_query``, so that a model's own prompts are where its authors want them.
    """

    def __init__(
        self,
        model: Any,
        inputs: Inputs,
        settings: Settings,
        *,
        prompt: str | None,
        gallery_prompt: str | None,
    ) -> None:
        self.model, self.inputs, self.settings = model, inputs, settings
        self._prompt, self._gallery_prompt = prompt, gallery_prompt
        self.n_dims = int(model.get_embedding_dimension() or 0)

    def texts(self, texts: Sequence[str]) -> Features:
        """Return one vector per text of a query."""
        return self._encode(self.inputs.texts(texts), self.model.encode_query, self._prompt)

    def images(self, images: Sequence[ImageRef]) -> Features:
        """Return one vector per image; zeros for one without captions where those are read."""
        vectors = np.zeros((len(images), self.n_dims), np.float32)
        for part in self.inputs.slices(len(images)):
            items = self.inputs.images(images[part])
            vectors[part] = self._encode(items, self.model.encode_document, self._gallery_prompt)
        return vectors

    def joint(self, queries: Sequence[Query]) -> Features:
        """Return one vector per query."""
        vectors = np.zeros((len(queries), self.n_dims), np.float32)
        for part in self.inputs.slices(len(queries)):
            items = self.inputs.joint(queries[part])
            vectors[part] = self._encode(items, self.model.encode_query, self._prompt)
        return vectors

    def _encode(
        self, items: Sequence[Input | None], encode: Callable[..., Any], prompt: str | None
    ) -> Features:
        vectors = np.zeros((len(items), self.n_dims), np.float32)
        for places in alike(items):
            with exact():
                vectors[places] = encode(
                    [items[place] for place in places],
                    prompt=prompt,
                    batch_size=self.settings.batch_size,
                    show_progress_bar=False,
                )
        return vectors


def load(
    *,
    model: str,
    revision: str | None = None,
    trust_remote_code: bool = False,
    compose: str = "auto",
    weight: float = 1.0,
    prompt: str | None = None,
    gallery_prompt: str | None = None,
    captions: str | Path | None = None,
    dimensions: int | None = None,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 32,
    workers: int = 0,
    long_texts: LongTexts = "refuse",
) -> ComposedEncoder:
    """Return the provider ``st``; parameters as :mod:`plugin` describes them.

    Raises
    ------
    ProviderError
        If the model cannot be had or loaded, or has a similarity that is no inner product.
    OptionError
        If it does not allow what is asked of it.
    """
    settings = Settings.checked(
        WHERE, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    source = find(model, revision, trust_remote_code=trust_remote_code, where=WHERE)
    encoder = load_model(
        "SentenceTransformer",
        source,
        settings,
        where=WHERE,
        trust_remote_code=trust_remote_code,
        truncate_dim=_checked_dimensions(dimensions),
    )
    full = _n_dims_of(encoder)
    if dimensions is not None and dimensions > full:
        raise OptionError(
            f"{WHERE}: option 'dimensions': expected at most {full}, got {dimensions}."
        )
    if encoder.similarity_fn_name not in ("cosine", "dot"):
        raise ProviderError(
            f"{WHERE}: expected a model compared by cosine or dot, got one by "
            f"{encoder.similarity_fn_name}. Use another model."
        )
    query_prompt = encoder.prompts.get("query") if prompt is None else prompt
    inputs = Inputs(
        encoder,
        WHERE,
        captions=captions,
        settings=settings,
        prompt=query_prompt,
        long_texts=long_texts,
    )
    return ComposedEncoder(
        Dense(encoder, inputs, settings, prompt=prompt, gallery_prompt=gallery_prompt),
        compose=inputs.choose(compose),
        weight=weight,
        cosine=encoder.similarity_fn_name == "cosine",
        where=WHERE,
        fingerprint={
            "model": source.identity,
            "library": library_versions(),
            "prompts": f"{prompt!r} for queries, {gallery_prompt!r} for candidates",
            "dimensions": str(dimensions or full),
            "dtype": settings.dtype_name,
            **inputs.fingerprint,
        },
    )


def _checked_dimensions(dimensions: int | None) -> int | None:
    if dimensions is not None and dimensions < 1:
        raise OptionError(f"{WHERE}: option 'dimensions': expected 1 or more, got {dimensions}.")
    return dimensions


def _n_dims_of(encoder: Any) -> int:
    """Return the width of a model's vectors before any is cut off."""
    with encoder.truncate_embeddings(None):
        return int(encoder.get_embedding_dimension() or 0)
