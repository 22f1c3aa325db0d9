"""The forward marker of BLIP4CIR+Bi; the image-grounded model reads captions as they are.

The marker follows Bi-Blip4CIR (MIT; see NOTICE).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.wrapping.blip.text import CaptionTokenizer, warn_of_empty
from dafm_core.wrapping.captions import two_captions

MARKED_TOKENS = 77
"""Where BLIP4CIR+Bi cuts a text, ``[CLS]`` and ``[SEP]`` included."""

_MARKER = " [FORWARD] "  # plain text to the tokeniser, three pieces

ADDED = ("[DEC]", "[ENC]")
"""The tokens after the vocabulary; upstream adds both."""


def mark_forward(caption: str) -> str:
    """Put the marker in front of every piece between the letters ``and``, within words too.

    It tears words apart and marks empty pieces; the model was trained so.

    Examples
    --------
    >>> mark_forward("a standing dog")
    ' [FORWARD] a stand [FORWARD] ing dog'
    """
    return "and".join(_MARKER + piece for piece in caption.split("and"))


def mark_captions(first: str, second: str) -> str:
    """Return FashionIQ's two captions, each marked and then joined.

    Examples
    --------
    >>> mark_captions("Is red.", "has sleeves")
    '[forward] is red and [FORWARD] has sleeves'
    """
    first, second = (mark_forward(caption).strip(".?, ") for caption in (first, second))
    return f"{first.capitalize()} and {second}"


class MarkingTokenizer:
    """The tokeniser of BLIP4CIR+Bi: texts are marked first.

    Parameters
    ----------
    tokenizer : CaptionTokenizer
    captions : {"one", "lines"}
        What a text is: one caption, or FashionIQ's two, one a line.
    where : str
        Start of error messages.
    """

    def __init__(self, tokenizer: CaptionTokenizer, *, captions: str, where: str) -> None:
        self.tokenizer, self.captions, self.where = tokenizer, captions, where

    def __call__(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Mark and tokenise.

        Raises
        ------
        ProviderError
            If ``captions=lines`` and a text has not exactly two lines.
        """
        warn_of_empty(sum(not text.strip() for text in texts), len(texts), self.where)
        return self.tokenizer([self._marked(text) for text in texts])

    def _marked(self, text: str) -> str:
        if self.captions == "one":
            return mark_forward(text)
        return mark_captions(*two_captions(text, self.where))
