"""What a modification text asks for, told by its words: negation, count, colour, position.

English, approximate, and the same for every model: a lens for looking at results, not a parser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_WORDS: Final = {
    "negation": "no not without none never nothing nobody remove removed removes instead lacks "
    "doesn't don't isn't aren't less rather",
    "count": "one two three four five six seven eight nine ten single double pair both several "
    "multiple many few fewer more another alone group only number",
    "colour": "black white gr[ae]y red orange yellow green blue purple violet pink brown tan beige "
    "gold golden silver colou?r colou?rs colou?red colou?rful dark darker light lighter bright "
    "brighter",
    "position": "left right top bottom front behind back above below under underneath over "
    "beside next near nearer between inside outside middle center centre centered closer facing "
    "corner foreground background side",
}
PATTERNS: Final = {
    name: re.compile(rf"\b(?:{'|'.join(words.split())})\b", re.IGNORECASE)
    for name, words in _WORDS.items()
} | {"count": re.compile(rf"\b(?:\d+|{'|'.join(_WORDS['count'].split())})\b", re.IGNORECASE)}

QUERY_TYPES: Final = (*PATTERNS, "other")
"""Names, in the order they are shown; ``other`` holds texts that no pattern matches."""


def query_types(texts: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Return, for each query type, which texts are of it; a text may be of several.

    Examples
    --------
    >>> types = query_types(["two dogs instead of one", "the same chair"])
    >>> [name for name, of_type in types.items() if of_type[0]]
    ['negation', 'count']
    >>> [name for name, of_type in types.items() if of_type[1]]
    ['other']
    """
    found = {
        name: np.array([bool(pattern.search(text)) for text in texts], bool)
        for name, pattern in PATTERNS.items()
    }
    found["other"] = ~np.logical_or.reduce(list(found.values()))
    return found
