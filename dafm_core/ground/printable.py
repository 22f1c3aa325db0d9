"""Text from elsewhere, made safe to print: what a reader cannot see is written out.

Ids, texts and names come from other people's files. A control character among them can move the
cursor or recolour a terminal, a bidirectional one can show a name in another order than it is
stored, and half of a surrogate pair cannot be written at all.
"""

from __future__ import annotations

import re
from typing import Final

_HIDDEN: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # controls of ASCII and Latin-1: escape, carriage return, newline, ...
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks, embeddings and isolates of direction
    "\u2028\u2029\ufeff"  # separators of lines and paragraphs, byte order mark
    "\ud800-\udfff"  # surrogates: bytes of a path that are no UTF-8 come as such
    "]"
)
"""Joiners (U+200C, U+200D) are not hidden: Persian words and emoji are spelt with them."""


def printable(text: str) -> str:
    r"""Return a text on one line, hidden characters written as Python writes them.

    Examples
    --------
    >>> print(printable("a\x1b[2Jb\nc"))
    a\x1b[2Jb\nc
    """
    return _HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def printable_json(text: str) -> str:
    r"""Return JSON of the same value, hidden characters in it written as JSON escapes.

    Examples
    --------
    >>> print(printable_json('["\u202e"]'))
    ["\u202e"]
    """
    lines = text.split("\n")  # only between values: inside of one, JSON writes \n
    return "\n".join(_HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", line) for line in lines)


def first_line(error: BaseException) -> str:
    r"""Return what an error says on its first line, without the period; its type if it is silent.

    Examples
    --------
    >>> first_line(ValueError("no such file.\nSee the manual.")), first_line(KeyError())
    ('no such file', 'KeyError')
    """
    try:
        text = str(error).strip()
    except Exception:  # foreign code may fail even at that
        text = ""
    return (text or type(error).__name__).splitlines()[0].rstrip(".")
