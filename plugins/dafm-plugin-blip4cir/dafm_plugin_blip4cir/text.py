"""From a caption to token ids: the forward marker of BLIP4CIR+Bi, and WordPiece.

The image-grounded model reads captions as they are. The marker follows Bi-Blip4CIR (MIT; see
NOTICE).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import BertTokenizer

from dafm_core.errors import ProviderError
from dafm_core.wrapping.wordpiece import read_wordpiece

logger = logging.getLogger(__name__)

MARKED_TOKENS = 77
"""Where BLIP4CIR+Bi cuts a text, ``[CLS]`` and ``[SEP]`` included."""

_MARKER = " [FORWARD] "  # plain text to the tokeniser, three pieces
_ADDED = ("[DEC]", "[ENC]")  # the ids after the vocabulary; upstream adds both


def mark_forward(caption: str) -> str:
    """Put the marker in front of every piece between the letters ``and``, within words too.

    It tears words apart and marks empty pieces; the model was trained so.

    Examples
    --------
    >>> mark_forward("a standing dog")
    ' [FORWARD] a stand [FORWARD] ing dog'
    """
    return "and".join(_MARKER + piece for piece in caption.split("and"))


def mark_captions(text: str) -> str:
    r"""Return FashionIQ's two captions, one a line, each marked and then joined.

    Examples
    --------
    >>> mark_captions("Is red.\nhas sleeves")
    '[forward] is red and [FORWARD] has sleeves'
    """
    first, second = (mark_forward(caption).strip(".?, ") for caption in text.split("\n"))
    return f"{first.capitalize()} and {second}"


class Tokenizer:
    """Texts -> ids and mask of shape (n, longest), int64.

    Parameters
    ----------
    vocabulary : str
        As :func:`dafm_core.wrapping.wordpiece.read_wordpiece` takes it.
    where : str
        Start of error messages.
    n_words, n_positions : int
        Rows of the model's tables.
    cut : int, optional
        Tokens after which a text is cut; without it nothing is cut, and a text longer than the
        position table is an error.
    image_grounded : bool
        Whether ``[ENC]`` replaces the first token.
    """

    def __init__(
        self,
        vocabulary: str,
        where: str,
        *,
        n_words: int,
        n_positions: int,
        cut: int | None = None,
        image_grounded: bool = False,
    ) -> None:
        tokens = read_wordpiece(vocabulary, where)
        self.sha256 = hashlib.sha256("\n".join(tokens).encode()).hexdigest()
        self._bert = BertTokenizer(vocab=tokens, do_lower_case=True)
        self._bert.add_tokens(list(_ADDED), special_tokens=True)
        self._where, self._n_positions, self._cut = where, n_positions, cut
        self._first = self._bert.convert_tokens_to_ids("[ENC]") if image_grounded else None
        if n_words < len(self._bert):
            raise ProviderError(
                f"{where}: checkpoint: expected {len(self._bert)} words or more, got {n_words}. "
                "Is this the checkpoint of another model?"
            )

    def __call__(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokenise, padded to the longest text.

        Raises
        ------
        ProviderError
            If a text has more tokens than the model has positions.
        """
        batch = self._bert(
            list(texts),
            padding="longest",
            truncation=self._cut is not None,
            max_length=self._cut,
            return_tensors="np",
        )
        ids, mask = batch["input_ids"], batch["attention_mask"]
        for text, n_tokens in zip(texts, mask.sum(axis=1), strict=True):
            if n_tokens > self._n_positions:
                raise ProviderError(
                    f"{self._where}: expected texts of at most {self._n_positions} tokens, got "
                    f"{n_tokens} (query text {text[:40]!r}...). Shorten it."
                )
        if self._first is not None:
            ids[:, 0] = self._first
        self._warn_of_empty(texts)
        return ids, mask

    def _warn_of_empty(self, texts: Sequence[str]) -> None:
        if n_empty := sum(not text.replace("[FORWARD]", "").strip() for text in texts):
            logger.warning(
                "%s: %d of %d texts are empty: the reference image alone decides their ranking.",
                self._where,
                n_empty,
                len(texts),
            )


class MarkingTokenizer:
    """The tokeniser of BLIP4CIR+Bi: texts are marked first.

    Parameters
    ----------
    tokenizer : Tokenizer
    captions : {"one", "lines"}
        What a text is: one caption, or FashionIQ's two, one a line.
    where : str
        Start of error messages.
    """

    def __init__(self, tokenizer: Tokenizer, *, captions: str, where: str) -> None:
        self.tokenizer, self.captions, self.where = tokenizer, captions, where

    def __call__(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Mark and tokenise.

        Raises
        ------
        ProviderError
            If ``captions=lines`` and a text has not exactly two lines.
        """
        return self.tokenizer([self._marked(text) for text in texts])

    def _marked(self, text: str) -> str:
        if self.captions == "one":
            return mark_forward(text)
        if text.count("\n") != 1:
            raise ProviderError(
                f"{self.where}: captions=lines: expected two captions, one a line, got "
                f"{text[:60]!r}. Leave out captions=lines for single texts."
            )
        return mark_captions(text)
