"""Edited captions from a language model behind an OpenAI-compatible server.

Nothing is sent unless asked for; a bill comes first, and every answer is kept by the very words
that were asked, so that another prompt or model never meets it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from dafm_core.contract.items import Query
from dafm_core.errors import OptionError, ProviderError
from dafm_core.wrapping.caption_file import CaptionFile
from dafm_core.wrapping.endpoint.answers import Answers
from dafm_core.wrapping.endpoint.bill import Bill
from dafm_core.wrapping.endpoint.client import Client

LONGEST: Final = 200
"""Tokens that an answer may have."""


class Writer:
    """Texts for queries, asked of a language model.

    Parameters
    ----------
    client : Client
    answers : Answers
    captions : CaptionFile
        Of the references.
    model : str
    prompt : str
        With ``{text}`` and, usually, ``{caption}`` in it.
    n_texts : int
        Answers per query, asked for with different seeds.
    temperature : float
    send : bool
        Whether requests are sent.
    where : str
        Start of error messages: the provider.
    """

    def __init__(
        self,
        client: Client,
        answers: Answers,
        captions: CaptionFile,
        *,
        model: str,
        prompt: str,
        n_texts: int,
        temperature: float,
        send: bool,
        where: str,
    ) -> None:
        if "{text}" not in prompt:
            raise OptionError(f"{where}: option 'prompt': expected {{text}} in it, got {prompt!r}.")
        if n_texts < 1:
            raise OptionError(f"{where}: option 'n_texts': expected 1 or more, got {n_texts}.")
        self._client, self._answers, self._captions = client, answers, captions
        self._model, self._prompt, self._temperature = model, prompt, temperature
        self._n_texts, self._send, self._where = n_texts, send, where

    def of(self, queries: Sequence[Query]) -> list[tuple[str, ...]]:
        """Return the texts of each query; its own text where an answer is empty.

        Raises
        ------
        OptionError
            If something would have to be sent, and nothing may be.
        ProviderError
            If the server fails, or answers something else than texts.
        """
        questions = self._questions(queries)
        distinct = list({str(question): question for question in questions}.values())
        known = self._answers.get(distinct)
        new = [question for question, answer in zip(distinct, known, strict=True) if answer is None]
        if new:
            self._settle(distinct, new)

        def keep(number: int, content: dict[str, Any]) -> None:
            self._answers.keep(new[number], self._read(content).encode())

        self._client.post_all("chat/completions", [self._payload(q) for q in new], keep)
        texts = [(answer or b"").decode() for answer in self._answers.get(questions)]
        rows = [texts[i : i + self._n_texts] for i in range(0, len(texts), self._n_texts)]
        return [
            tuple(text or query.text for text in row)
            for query, row in zip(queries, rows, strict=True)
        ]

    def prepare(self, queries: Sequence[Query]) -> None:
        """Say what all of this will cost; raise OptionError where nothing may be sent."""
        distinct = list({str(q): q for q in self._questions(queries)}.values())
        known = self._answers.get(distinct)
        self._settle(distinct, [q for q, a in zip(distinct, known, strict=True) if a is None])

    def _settle(self, questions: Sequence[Any], new: Sequence[Any]) -> None:
        Bill(
            n_requests=len(new),
            n_texts=len(new),
            n_characters=sum(len(question["prompt"]) for question in new),
            n_cached=len(questions) - len(new),
        ).settle(send=self._send, url=self._client.url, model=self._model, where=self._where)

    def _questions(self, queries: Sequence[Query]) -> list[dict[str, Any]]:
        """Return ``n_texts`` questions per query."""
        questions = []
        for query in queries:
            found = self._captions.of(query.references, role="reference image")
            filled = _filled(self._prompt, " ".join(" ".join(own) for own in found), query.text)
            questions += [{"prompt": filled, "sample": i} for i in range(self._n_texts)]
        return questions

    def _payload(self, question: dict[str, Any]) -> dict[str, Any]:
        return {
            "model": self._model,
            "messages": [{"role": "user", "content": question["prompt"]}],
            "temperature": self._temperature,
            "seed": question["sample"],
            "max_tokens": LONGEST,
        }

    def _read(self, content: dict[str, Any]) -> str:
        try:
            text = content["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            text = 0
        if text is not None and not isinstance(text, str):
            raise ProviderError(
                f"{self._where}: {self._client.url}: expected a text of a language model, got "
                f"{str(content)[:120]!r}. Is this the address of one?"
            )
        return " ".join((text or "").split()).strip('"')


def _filled(prompt: str, caption: str, text: str) -> str:
    """Return a prompt with its parts, in one pass: a caption may have "{text}" in it."""
    parts = {"{caption}": caption, "{text}": text}
    return re.sub(r"\{caption\}|\{text\}", lambda match: parts[match[0]], prompt)
