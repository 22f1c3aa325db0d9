"""What a modification text asks for, told by its words: negation, count, colour, position.

English, approximate, and the same for every model: a lens for looking at results, not a parser. How
often each is right was measured on texts labelled by hand (docs/explanation/query-types.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PLACES: Final = "left|right|top|bottom|front|side|back|middle|center|centre|corner"
_PHRASES: Final = {
    "negation": (
        r"no(?! more than\b)|not|without|none|never|nothing|nobody|remov\w+|instead|lacks?|rather|"
        r"replac\w+|get rid|does ?n[o']t|do ?n[o']t|is ?n[o']t|are ?n[o']t|take away|delete\w*"
    ),
    "count": (
        r"\d+|one(?! shoulder)(?!-shoulder)|two|three|four|five|six|seven|eight|nine|ten|single|"
        r"double|pair|both|several|multiple|many|fewer|number of|"
        r"(?:more|less|few) (?:people|persons|animals|dogs|puppies|birds|of them)|"
        r"(?:larger|bigger|smaller) (?:group|number|herd|flock)"
    ),
    "colour": (
        r"black|white|gr[ae]y|red|orange|yellow|green|blues?|purple|violet|pink|brown|tan|beige|"
        r"gold|golden|silver|teal|mint|navy|turquoise|maroon|ivory|cream|colou?r\w*|"
        r"dark|darker|light|ligth?er|lighter|bright|brighter|luminous"
    ),
    "position": (
        r"left|right|behind|above|below|under|underneath|beneath|over|beside|next to|near|nearer|"
        r"between|inside|outside|foreground|facing|faces?(?= (?:away|to|left|right))|around|"
        r"(?:in|on|at|to|from) (?:the |its )?(?:" + _PLACES + r")|"
        r"by (?:the|a|an|its)|in (?:a|the) \w* ?(?:box|bowl|basket|cage|bag|cup|jar|plate|mouth)|"
        r"(?<!focus )on (?:(?:the|a|an|his|her|its|their|top|each) )?(?:\w+ )?"
        r"(?:table|bed|chair|couch|sofa|plate|dish|lap|shoulders?|head|leg|back|"
        r"towel|branch\w*|rock|log|wall|shelf|top|hand|rug|boat|bench|mat|blanket)|against"
    ),
}
PATTERNS: Final = {
    name: re.compile(rf"\b(?:{phrases})\b", re.IGNORECASE) for name, phrases in _PHRASES.items()
}

PRECISION: Final = {
    "negation": (23, 23),
    "count": (11, 15),
    "colour": (64, 64),
    "position": (22, 25),
}
"""Of a hundred texts labelled by hand that the patterns had not been adjusted to: how many were
rightly said to be of a type, and how many were said to be. Four times ``count`` was told by the
word "another", which was dropped for that reason; since then it is 11 of 11 there.
"""

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


def types_of_each(texts: Sequence[str]) -> list[list[str]]:
    """Return the types of every text, in the order of :data:`QUERY_TYPES`."""
    found = query_types(texts)
    return [[name for name, of_type in found.items() if of_type[i]] for i in range(len(texts))]


def precision_words() -> str:
    """Say how often a text that is said to be of a type is of it."""
    shares = [f"{name} {right} of {said}" for name, (right, said) in PRECISION.items()]
    return (
        "Types are told by English words; of a hundred texts labelled by hand, so many of those "
        f"said to be of a type were: {', '.join(shares)}"
    )
