"""FashionIQ's two captions in one text, as ``--dataset-set join=lines`` hands them over.

For plugins whose model composes the two in a way of its own; their option is ``captions=lines``.
"""

from __future__ import annotations

from dafm_core.errors import ProviderError


def two_captions(text: str, where: str) -> tuple[str, str]:
    """Return the two raw captions of a text, one a line.

    Raises
    ------
    ProviderError
        If the text has not exactly two lines.
    """
    first, newline, second = text.partition("\n")
    if not newline or "\n" in second:
        raise ProviderError(
            f"{where}: captions=lines: expected two captions, one a line, got {text[:60]!r}. "
            "Leave out captions=lines for single texts."
        )
    return first, second
