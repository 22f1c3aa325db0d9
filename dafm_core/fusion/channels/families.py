"""Names of the channels that a learned fusion may read of a candidate; imports nothing heavy.

How each is computed stands in ``view.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dafm_core.errors import OptionError, closest

FAMILIES: Final = {
    "minmax": "scores, each row scaled to [0, 1]",
    "rows": "scores, standardised over each row",
    "columns": "rows, standardised again over each candidate's column of the query bank",
    "restandardized": "columns, standardised once more over each row: the evidence",
    "ranks": "logarithm of the share of candidates with as much evidence, centred",
    "reverse": "logarithm of how many queries of the bank score the candidate higher",
    "topics": "evidence that is left when the row is made of the bank's main directions alone",
    "neighbours": "mean evidence of a candidate's nearest other candidates",
    "neighbour-rows": "their mean score, standardised over each row",
}
"""One channel per provider each, in this order; without a bank the evidence is ``rows``."""

DEFAULT_INPUTS: Final = "rows,restandardized,ranks,reverse,topics,neighbours"
"""What wins on data (docs/explanation/ablation.md); every learned fuser takes these by default."""
BANK_FAMILIES: Final = frozenset({"columns", "restandardized", "reverse", "topics"})
BANK_ONLY_FAMILIES: Final = frozenset({"reverse", "topics"})
"""Those that say nothing without a bank; the other two fall back on rows."""
NEIGHBOUR_FAMILIES: Final = frozenset({"neighbours", "neighbour-rows"})
EVIDENCE: Final = ("restandardized", "columns", "rows", "minmax", "ranks")
"""The first of these among the inputs is what a fusion that has learned nothing would average."""
SHARED: Final[Mapping[str, float]] = MappingProxyType(
    {"ranks": 1.0, "reverse": 1.0, "topics": 1.0, "neighbours": 0.5}
)
"""The three views of a candidate count alike, and what its neighbours say half."""
CONTEXT_PER_PROVIDER: Final = 5
"""Statistics of a provider's row that say something about the query."""


def parse_families(inputs: str, *, where: str) -> tuple[str, ...]:
    """Return the channel families of a comma-separated list, in the order of ``FAMILIES``.

    Raises
    ------
    OptionError
        For an unknown or missing name.

    Examples
    --------
    >>> parse_families("ranks, rows", where="light")
    ('rows', 'ranks')
    """
    names = [name.strip() for name in inputs.split(",") if name.strip()]
    for name in names:
        if name not in FAMILIES:
            raise OptionError(f"{where}: no input {name!r}{closest(name, FAMILIES)}")
    if not names:
        raise OptionError(f"{where}: expected at least one input, got {inputs!r}.")
    return tuple(name for name in FAMILIES if name in names)
