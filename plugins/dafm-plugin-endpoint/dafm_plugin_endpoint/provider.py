"""The provider: questions to vectors, from the cache or from the server, in the order asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features
from dafm_core.errors import OptionError, ProviderError
from dafm_core.wrapping.caption_file import CaptionFile
from dafm_core.wrapping.composing import Compose, ComposedEncoder
from dafm_core.wrapping.endpoint.answers import Answers
from dafm_core.wrapping.endpoint.bill import Bill
from dafm_core.wrapping.endpoint.client import Client
from dafm_plugin_endpoint.questions import Question, payloads_of

WHERE = "endpoint"


class Server:
    """Vectors of questions: those that are cached, and the server's answers to the others."""

    def __init__(
        self,
        client: Client,
        answers: Answers,
        *,
        model: str,
        send: bool,
        dimensions: int | None,
        batch_size: int,
        image_side: int,
    ) -> None:
        self.client, self.answers, self.model, self.send = client, answers, model, send
        self._extra = {} if dimensions is None else {"dimensions": dimensions}
        self._batch_size, self._side = batch_size, image_side

    def vectors(self, questions: Sequence[Question]) -> Features:
        """Return one vector per question, (n, D).

        Raises
        ------
        OptionError
            If something would have to be sent, and nothing may be.
        ProviderError
            If the server fails, or answers something that cannot be vectors of one model.
        """
        if not questions:
            return np.empty((0, self.n_dims), np.float32)
        distinct = {question: row for row, question in enumerate(dict.fromkeys(questions))}
        rows = self._distinct(list(distinct))
        return rows[[distinct[question] for question in questions]]

    def _distinct(self, questions: Sequence[Question]) -> Features:
        keys = [question.key(self._side) for question in questions]
        known = self.answers.get(keys)
        new = [place for place, answer in enumerate(known) if answer is None]
        if new and not self.send:
            self.settle(questions)
        requests = payloads_of(
            [questions[place] for place in new],
            self.model,
            batch_size=self._batch_size,
            side=self._side,
            extra=self._extra,
        )

        def keep(number: int, content: dict[str, Any]) -> None:
            places = requests[number][0]
            for place, vector in zip(places, self._read(content, len(places)), strict=True):
                known[new[place]] = vector.tobytes()
                self.answers.keep(keys[new[place]], vector.tobytes())

        self.client.post_all("embeddings", [payload for _, payload in requests], keep)
        return np.stack([np.frombuffer(answer or b"", "<f4") for answer in known])

    @property
    def n_dims(self) -> int:
        """Width of the vectors: that of any answer; asked for where there is none yet."""
        answer = self.answers.any_answer()
        return self.vectors([Question("image")]).shape[1] if answer is None else len(answer) // 4

    def bill(self, questions: Sequence[Question]) -> Bill:
        """Return what the answers to these questions would cost."""
        distinct = list(dict.fromkeys(questions))
        known = self.answers.get([question.key(self._side) for question in distinct])
        new = [q for q, answer in zip(distinct, known, strict=True) if answer is None]
        texts = [question for question in new if not question.images]
        return Bill(
            n_requests=-(-len(texts) // self._batch_size) + len(new) - len(texts),
            n_texts=sum(bool(question.text) for question in new),
            n_images=sum(len(question.images) for question in new),
            n_characters=sum(len(question.text) for question in new),
            n_cached=len(distinct) - len(new),
        )

    def settle(self, questions: Sequence[Question]) -> None:
        """Say what will be sent; raise OptionError where it may not be."""
        self.bill(questions).settle(
            send=self.send, url=self.client.url, model=self.model, where=WHERE
        )

    def _read(self, content: dict[str, Any], n_expected: int) -> list[NDArray[np.float32]]:
        """Return the vectors of one answer by their index; anything else is a ProviderError."""
        data = content.get("data")
        rows = data if isinstance(data, list) else []
        numbered = (row for row in rows if isinstance(row, dict))
        by_index = {row["index"]: row for row in numbered if _is_number(row.get("index"))}
        if len(rows) != n_expected or set(by_index) != set(range(n_expected)):
            raise ProviderError(
                f"{WHERE}: {self.client.url}: expected {n_expected} embeddings numbered from 0, "
                f"got {str(content)[:120]!r}. Does this server make embeddings?"
            )
        vectors = [self._vector(by_index[index].get("embedding")) for index in range(n_expected)]
        if len(lengths := {len(vector) for vector in vectors}) > 1:
            raise ProviderError(
                f"{WHERE}: {self.client.url}: expected embeddings of one length, got "
                f"{min(lengths)} to {max(lengths)} numbers in one answer. Ask who runs the server."
            )
        return vectors

    def _vector(self, embedding: Any) -> NDArray[np.float32]:
        is_list = isinstance(embedding, list) and all(map(_is_number, embedding))
        try:
            with np.errstate(over="ignore"):
                vector = np.asarray(embedding if is_list else [], dtype="<f4")
        except OverflowError:
            vector = np.empty(0, "<f4")
        if not np.isfinite(vector).all() or not vector.any():
            raise ProviderError(
                f"{WHERE}: {self.client.url}: expected an embedding of finite numbers, not all 0, "
                f"got {str(embedding)[:60]}. Ask who runs the server."
            )
        kept = self.answers.any_answer()
        if kept is not None and len(kept) != vector.nbytes:
            raise ProviderError(
                f"{WHERE}: {self.client.url}: expected embeddings of {len(kept) // 4} numbers, as "
                f"before, got {len(vector)}. Has the model behind {self.model!r} changed? Then "
                "give another --set cache=FILE."
            )
        return vector


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Embedder:
    """The server as :class:`ComposedEncoder` takes one."""

    def __init__(
        self, server: Server, captions: CaptionFile | None, *, prompt: str, gallery_prompt: str
    ) -> None:
        self.server, self._captions = server, captions
        self._prompt, self._gallery_prompt = prompt, gallery_prompt

    def texts(self, texts: Sequence[str]) -> Features:
        """Return one vector per text of a query."""
        return self.server.vectors([self.text(text) for text in texts])

    def images(self, images: Sequence[ImageRef]) -> Features:
        """Return one vector per image; zeros for one without captions where those are sent."""
        questions = self.of_images(images)
        asked = [question for question in questions if question is not None]
        found = self.server.vectors(asked)
        vectors = np.zeros((len(images), found.shape[1]), np.float32)
        vectors[[question is not None for question in questions]] = found
        return vectors

    def joint(self, queries: Sequence[Query]) -> Features:
        """Return one vector per query."""
        return self.server.vectors([self.of_query(query) for query in queries])

    def text(self, text: str) -> Question:
        """Return the question for a query's text."""
        return Question(self._prompt + text)

    def of_images(self, images: Sequence[ImageRef]) -> list[Question | None]:
        """Return the question for each candidate."""
        if self._captions is None:
            return [Question(self._gallery_prompt, (image,)) for image in images]
        found = self._captions.of(images, role="image")
        return [Question(self._gallery_prompt + " ".join(own)) if own else None for own in found]

    def of_query(self, query: Query) -> Question:
        """Return the question for references and text together."""
        if self._captions is None:
            return Question(self._prompt + query.text, query.references)
        found = self._captions.of(query.references, role="reference")
        told = [" ".join(own) for own in found if own]
        return Question(self._prompt + " ".join([*told, query.text]))


class Endpoint(ComposedEncoder):
    """The provider ``endpoint``; made by :func:`load`."""

    embedder: Embedder

    def prepare(self, queries: Sequence[Query], gallery: Sequence[ImageRef]) -> None:
        """Say what all of this will cost; raise OptionError where nothing may be sent."""
        references = {image: None for query in queries for image in query.references}
        questions: list[Question | None] = list(self.embedder.of_images(gallery))
        if self.compose == "joint":
            questions += [self.embedder.of_query(query) for query in queries]
        if self.compose in ("sum", "text"):
            questions += [self.embedder.text(query.text) for query in queries]
        if self.compose in ("sum", "image"):
            questions += self.embedder.of_images(list(references))
        self.embedder.server.settle([q for q in questions if q is not None])


def load(
    *,
    endpoint: str,
    model: str,
    send: bool = False,
    compose: str = "auto",
    weight: float = 1.0,
    prompt: str = "",
    gallery_prompt: str = "",
    captions: str | Path | None = None,
    dimensions: int | None = None,
    image_side: int = 1024,
    batch_size: int = 64,
    concurrency: int = 4,
    timeout: float = 60.0,
    retries: int = 5,
    key_env: str | None = None,
    cache: str | Path | None = None,
) -> Endpoint:
    """Return the provider; parameters as :mod:`plugin` describes them. Nothing is sent here.

    Raises
    ------
    OptionError
        For an option that cannot be used.
    ProviderError
        If the cache is of another model.
    """
    for name, value in (("batch_size", batch_size), ("image_side", image_side)):
        if value < 1:
            raise OptionError(f"{WHERE}: option {name!r}: expected 1 or more, got {value}.")
    client = Client(
        endpoint,
        key_env=key_env,
        timeout=timeout,
        retries=retries,
        concurrency=concurrency,
        where=WHERE,
    )
    file = None if captions is None else CaptionFile.read(captions)
    identity = {"endpoint": client.url, "model": model, "dimensions": str(dimensions)}
    server = Server(
        client,
        Answers(identity, path=cache, where=WHERE),
        model=model,
        send=send,
        dimensions=dimensions,
        batch_size=batch_size,
        image_side=image_side,
    )
    usual: Compose = "joint" if file is None else "text"
    return Endpoint(
        Embedder(server, file, prompt=prompt, gallery_prompt=gallery_prompt),
        compose=usual if compose == "auto" else compose,  # type: ignore[arg-type]
        weight=weight,
        where=WHERE,
        fingerprint={
            **identity,
            "prompts": f"{prompt!r} for queries, {gallery_prompt!r} for candidates",
            "images": f"JPEG of {image_side} pixels at most"
            if file is None
            else f"captions sha256 {file.sha256}",
        },
    )
