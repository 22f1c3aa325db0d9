"""From captions to word pieces as BLIP's descendants read them: cleaning, then WordPiece.

How many words and tokens are kept differs by model, and is given. The cleaning follows LAVIS
(BSD-3-Clause; see NOTICE), which the models were trained with.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from transformers import BertTokenizer

from dafm_core.errors import ProviderError
from dafm_core.wrapping.wordpiece import read_wordpiece

logger = logging.getLogger(__name__)

_TO_BLANK = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))


def clean(text: str, *, max_words: int) -> str:
    """Return the text as LAVIS prepares it: lower case, fewer signs, at most ``max_words`` words.

    Words are what blanks separate; a single tab or newline does not.

    Examples
    --------
    >>> clean('Two  dogs; "lying" down...', max_words=50)
    'two dogs lying down'
    """
    text = re.sub(r"\s{2,}", " ", text.lower().translate(_TO_BLANK))
    return " ".join(text.rstrip("\n").strip(" ").split(" ")[:max_words])


class CaptionTokenizer:
    """Texts -> ids and mask, int64, of shape (n, longest) or (n, cut).

    Parameters
    ----------
    vocabulary : str
        As :func:`dafm_core.wrapping.wordpiece.read_wordpiece` takes it.
    where : str
        Start of error messages.
    n_words, n_positions : int
        Rows of the model's tables.
    added : tuple of str
        Special tokens that upstream adds behind the vocabulary; the model's table holds them.
    first : str, optional
        Which of them replaces ``[CLS]``.
    prepare : callable, optional
        What is done to a text first.
    cut : int, optional
        Tokens after which a text is cut, ``[CLS]`` and ``[SEP]`` included; without it nothing is
        cut, and a text longer than the position table is an error.
    padding : {"longest", "max_length"}
        To the longest text of a batch, or to ``cut``.

    Raises
    ------
    ProviderError
        If the vocabulary cannot be had, or the model has smaller tables.
    """

    def __init__(
        self,
        vocabulary: str,
        where: str,
        *,
        n_words: int,
        n_positions: int,
        added: tuple[str, ...] = ("[DEC]",),
        first: str | None = None,
        prepare: Callable[[str], str] | None = None,
        cut: int | None = None,
        padding: Literal["longest", "max_length"] = "longest",
    ) -> None:
        tokens = read_wordpiece(vocabulary, where)
        self.sha256 = hashlib.sha256("\n".join(tokens).encode()).hexdigest()
        self._bert = BertTokenizer(vocab=tokens, do_lower_case=True)
        self._bert.add_tokens(list(added), special_tokens=True)
        self._first = None if first is None else self._bert.convert_tokens_to_ids(first)
        self._where, self._n_positions = where, n_positions
        self._prepare, self._cut, self._padding = prepare, cut, padding
        n_needed = cut or 2
        if n_words < len(self._bert) or n_positions < n_needed:
            raise ProviderError(
                f"{where}: checkpoint: expected {len(self._bert)} words and {n_needed} positions "
                f"or more, got {n_words} and {n_positions}. "
                "Is this the checkpoint of another model?"
            )

    def __call__(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Prepare and tokenise.

        Raises
        ------
        ProviderError
            If a text has more tokens than the model has positions.
        """
        batch = self._bert(
            [self._prepare(text) if self._prepare else text for text in texts],
            padding=self._padding,
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
        warn_of_empty(int((mask.sum(axis=1) <= 2).sum()), len(texts), self._where)
        return ids, mask


def warn_of_empty(n_empty: int, n_texts: int, where: str) -> None:
    """Log one warning where texts are empty, which is legal: they have no piece of their own."""
    if n_empty:
        logger.warning(
            "%s: %d of %d texts are empty: the reference image alone decides their ranking.",
            where,
            n_empty,
            n_texts,
        )
