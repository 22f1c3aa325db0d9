"""Numbers that are not decided by what is known: NaN in arrays, null in JSON, a word in tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

WORD: Final = "undecided"
"""What stands in a table where a number would."""


def null_if_undecided(value: Any) -> Any:
    """Return JSON values with None in place of every NaN, however deep.

    Examples
    --------
    >>> null_if_undecided({"recall@1": 0.5, "deeper": [float("nan")]})
    {'recall@1': 0.5, 'deeper': [None]}
    """
    if isinstance(value, Mapping):
        return {key: null_if_undecided(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [null_if_undecided(content) for content in value]
    return None if isinstance(value, float) and math.isnan(value) else value
