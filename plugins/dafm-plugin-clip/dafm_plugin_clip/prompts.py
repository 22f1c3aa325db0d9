"""From captions to token ids with a placeholder in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import OptionError, closest
from dafm_core.wrapping.captions import two_captions
from dafm_core.wrapping.clip.tokenizer import ClipTokenizer

CAPTION = "{caption}"
"""Where a template takes the caption."""

Orders = Callable[[str, str], tuple[str, ...]]
"""FashionIQ's two raw captions -> one or two texts."""


def second_first(first: str, second: str) -> tuple[str]:
    """Join raw captions as Pic2Word does.

    Examples
    --------
    >>> second_first("is red.", "has dots")
    ('has dots and is red.',)
    """
    return (f"{second} and {first}",)


def both_orders(first: str, second: str) -> tuple[str, str]:
    """Join captions in both orders, without signs at their ends, as SEARLE and LinCIR do.

    Examples
    --------
    >>> both_orders("is red.", "..has dots?!")
    ('is red and has dots?!', 'has dots?! and is red')
    """
    one, other = (caption.strip(".?, ") for caption in (first, second))
    return f"{one} and {other}", f"{other} and {one}"


def filled(template: str, caption: str) -> str:
    """Return the template with the caption in it; braces of captions mean nothing."""
    return template.replace(CAPTION, caption)


def check_template(template: str, where: str) -> None:
    """Raise OptionError unless a template takes the caption once."""
    if template.count(CAPTION) != 1:
        raise OptionError(
            f"{where}: option 'template': expected one {CAPTION}, got {template!r}. "
            f"Write {CAPTION} where the text goes."
        )


class PromptTokenizer:
    """Texts -> one or two arrays of ids, (n, L), each row with the placeholder in it.

    Parameters
    ----------
    tokenizer : ClipTokenizer
    template : str
        With one ``{caption}``, and one placeholder that is a piece of its own.
    placeholder : int
        Its id.
    captions : {"one", "lines"}
        What a text is: one caption, or FashionIQ's two, one a line.
    orders : callable
        What is made of the two.

    Raises
    ------
    OptionError
        If the template does not hold, or ``captions`` is something else.
    """

    def __init__(
        self,
        tokenizer: ClipTokenizer,
        *,
        template: str,
        placeholder: int,
        captions: str,
        orders: Orders,
    ) -> None:
        where = tokenizer.where
        if captions not in (choices := ("one", "lines")):
            raise OptionError(f"{where}: captions {captions!r}{closest(captions, choices)}")
        check_template(template, where)
        n_found = int((tokenizer.ids([filled(template, "")]) == placeholder).sum())
        if n_found != 1:
            raise OptionError(
                f"{where}: option 'template': expected one placeholder between blanks, got "
                f"{n_found} ({template!r}). Take the default as a pattern."
            )
        self._tokenizer, self._template = tokenizer, template
        self._captions, self._orders = captions, orders

    def __call__(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
        """Put texts into the template and tokenise them.

        Raises
        ------
        ProviderError
            If a text is too long, or has not two lines where it should.
        """
        rows = [self._joined(text) for text in texts]
        return tuple(
            self._tokenizer.ids([filled(self._template, text) for text in column])
            for column in zip(*rows, strict=True)
        )

    def _joined(self, text: str) -> tuple[str, ...]:
        if self._captions == "one":
            return (text,)
        return self._orders(*two_captions(text, self._tokenizer.where))
