"""From a caption to token ids: SPRC's cleaning rules, then WordPiece cut to 32 tokens.

The rules follow LAVIS (BSD-3-Clause; see NOTICE), which the model was trained with.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import BertTokenizer

from dafm_core.errors import ProviderError
from dafm_core.wrapping.wordpiece import read_wordpiece

logger = logging.getLogger(__name__)

MAX_WORDS = 50
MAX_TOKENS = 32
"""With ``[CLS]`` and ``[SEP]``; shorter texts are padded to it."""

_TO_BLANK = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))


def clean(text: str) -> str:
    """Return the text as the model was trained to read it: lower case, fewer signs, 50 words.

    Examples
    --------
    >>> clean('Two  dogs; "lying" down...')
    'two dogs lying down'
    """
    text = re.sub(r"\s{2,}", " ", text.lower().translate(_TO_BLANK))
    return " ".join(text.rstrip("\n").strip(" ").split(" ")[:MAX_WORDS])


class Tokenizer:
    """Texts -> ids and mask of shape (n, 32), int64.

    Parameters
    ----------
    vocabulary : str
        As :func:`dafm_core.wrapping.wordpiece.read_wordpiece` takes it.
    where : str
        Start of error messages.
    """

    def __init__(self, vocabulary: str, where: str) -> None:
        self._where = where
        tokens = read_wordpiece(vocabulary, where)
        self.sha256 = hashlib.sha256("\n".join(tokens).encode()).hexdigest()
        self._bert = BertTokenizer(vocab=tokens, do_lower_case=True)
        self._bert.add_tokens(["[DEC]"], special_tokens=True)  # upstream adds it, and never uses it

    def check(self, n_words: int, n_positions: int) -> None:
        """Raise ProviderError unless a model's tables have these words and positions."""
        if n_words < len(self._bert) or n_positions < MAX_TOKENS:
            raise ProviderError(
                f"{self._where}: checkpoint: expected {len(self._bert)} words and {MAX_TOKENS} "
                f"positions or more, got {n_words} and {n_positions}. "
                "Is this the checkpoint of another model?"
            )

    def __call__(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Clean and tokenise."""
        batch = self._bert(
            [clean(text) for text in texts],
            padding="max_length",
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="np",
        )
        ids, mask = batch["input_ids"], batch["attention_mask"]
        if n_empty := int((mask.sum(axis=1) <= 2).sum()):  # [CLS] and [SEP] alone
            logger.warning(
                "%s: %d of %d texts are empty: the reference image alone decides their ranking.",
                self._where,
                n_empty,
                len(texts),
            )
        return ids, mask
