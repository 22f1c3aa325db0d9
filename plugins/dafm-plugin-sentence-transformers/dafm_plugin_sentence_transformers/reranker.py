"""Re-rankers: query and candidate go through the model together, so they see shortlists only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.descriptions import References
from dafm_core.contract.items import ImageRef, Query
from dafm_core.errors import ProviderError
from dafm_core.wrapping.inference import Settings
from dafm_core.wrapping.precision import exact
from dafm_plugin_sentence_transformers.inputs import Input, Inputs, LongTexts
from dafm_plugin_sentence_transformers.models import find, library_versions
from dafm_plugin_sentence_transformers.models import load as load_model

WHERE = "st-reranker"


class Reranker:
    """The provider ``st-reranker``; made by :func:`load`."""

    def __init__(
        self,
        model: Any,
        inputs: Inputs,
        settings: Settings,
        *,
        compose: str,
        prompt: str | None,
        activation: str,
        fingerprint: dict[str, str],
    ) -> None:
        self.model, self.inputs, self.settings = model, inputs, settings
        self.compose, self.fingerprint = compose, fingerprint
        self.references: References = "none" if compose == "text" else "any"
        self._prompt, self._activation = prompt, activation

    def score_pairs(
        self, queries: Sequence[Query], candidates: Sequence[Sequence[ImageRef]]
    ) -> list[NDArray[np.float32]]:
        """Return one array of scores per query, in the order of its candidates.

        A candidate without captions, where those are read, gets the lowest score of its shortlist.
        """
        pairs = zip(queries, candidates, strict=True)
        return [self._score(query, images) for query, images in pairs]

    def _score(self, query: Query, images: Sequence[ImageRef]) -> NDArray[np.float32]:
        scores = np.full(len(images), np.nan, np.float32)
        (question,) = self._questions([query])
        for part in self.inputs.slices(len(images)):
            answers = self.inputs.images(images[part])
            places = [place for place, answer in enumerate(answers) if answer is not None]
            pairs = [_pair(question, answers[place]) for place in places]
            scores[np.array(places, np.int64) + part.start] = self._predict(pairs)
        known = scores[~np.isnan(scores)]
        return np.nan_to_num(scores, nan=float(known.min()) if len(known) else 0.0)

    def _questions(self, queries: Sequence[Query]) -> Sequence[Input]:
        if self.compose == "joint":
            return self.inputs.joint(queries)
        return self.inputs.texts([query.text for query in queries])

    def _predict(self, pairs: list[tuple[Any, Any]]) -> NDArray[np.float32]:
        if not pairs:
            return np.empty(0, np.float32)
        from torch.nn import Identity

        with exact():
            scores = self.model.predict(
                pairs,
                prompt=self._prompt,
                batch_size=self.settings.batch_size,
                show_progress_bar=False,
                activation_fn=Identity() if self._activation == "none" else None,
            )
        return np.asarray(scores, np.float32)


def _pair(question: Input, answer: Input | None) -> tuple[Any, Any]:
    """Return a pair as the library takes it: two texts as they are, anything else with its kind."""
    if question.keys() == {"text"} and answer is not None and answer.keys() == {"text"}:
        return question["text"], answer["text"]
    return question, answer


def load(
    *,
    model: str,
    revision: str | None = None,
    trust_remote_code: bool = False,
    compose: str = "auto",
    prompt: str | None = None,
    captions: str | Path | None = None,
    activation: str = "model",
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 32,
    workers: int = 0,
    long_texts: LongTexts = "refuse",
) -> Reranker:
    """Return the provider ``st-reranker``; parameters as :mod:`plugin` describes them.

    Raises
    ------
    ProviderError
        If the model cannot be had or loaded, or gives several scores a pair.
    OptionError
        If it does not allow what is asked of it.
    """
    settings = Settings.checked(
        WHERE, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    source = find(model, revision, trust_remote_code=trust_remote_code, where=WHERE)
    encoder = load_model(
        "CrossEncoder", source, settings, where=WHERE, trust_remote_code=trust_remote_code
    )
    if encoder.num_labels != 1:
        raise ProviderError(
            f"{WHERE}: expected a model with one score per pair, got {encoder.num_labels}. "
            "Use one that was trained to re-rank."
        )
    inputs = Inputs(
        encoder, WHERE, captions=captions, settings=settings, prompt=prompt, long_texts=long_texts
    )
    chosen: str = inputs.choose(compose)
    chosen = "joint" if chosen == "joint" else "text"
    return Reranker(
        encoder,
        inputs,
        settings,
        compose=chosen,
        prompt=prompt,
        activation=activation,
        fingerprint={
            "model": source.identity,
            "library": library_versions(),
            "prompt": repr(prompt),
            "compose": chosen,
            "activation": activation,
            "dtype": settings.dtype_name,
            **inputs.fingerprint,
        },
    )
