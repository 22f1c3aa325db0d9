"""Every error a user of dafm can meet: where, what was expected, what came, what to do next.

    DafmError                  the user's input: one line on the command line, exit code 2
    ├── OptionError            an unknown, missing or malformed option, name or metric
    ├── DatasetError           annotation files, ids, targets, protocols
    ├── ImageError             an image that is missing or cannot be decoded
    ├── ProviderError          a provider that cannot be loaded, or that raised while scoring
    ├── SimilarityError        a matrix of the wrong shape, or with NaN or infinite scores
    ├── StoreError             a store that is missing, damaged, locked or of another protocol
    ├── AlignmentError         query ids, gallery ids, providers or passports that do not agree
    ├── FuserError             a fuser that is not fitted, or whose saved file cannot be used
    ├── LeakageError           evaluation on queries the fuser was fitted on
    └── SubmissionError        a test-server file that the server would reject

ImageError is also an OSError, ProviderError a RuntimeError, every other one a ValueError.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class DafmError(Exception):
    """Base of all errors caused by input; anything else that escapes is a bug."""


class OptionError(DafmError, ValueError):
    """An unknown, missing or malformed option, name or metric."""


class DatasetError(DafmError, ValueError):
    """Annotations that are missing, malformed or inconsistent."""


class ImageError(DafmError, OSError):
    """An image that is missing or cannot be decoded."""


class ProviderError(DafmError, RuntimeError):
    """A provider that cannot be loaded, or that raised while scoring."""


class SimilarityError(DafmError, ValueError):
    """A similarity matrix of the wrong shape, or with values that are not finite."""


class StoreError(DafmError, ValueError):
    """A similarity store that is missing, damaged, locked, newer or of another protocol."""


class AlignmentError(DafmError, ValueError):
    """Query ids, gallery ids, provider names or passports that do not agree."""


class FuserError(DafmError, ValueError):
    """A fuser that is not fitted, or whose saved file cannot be used."""


class LeakageError(DafmError, ValueError):
    """Evaluation on queries the fuser was fitted on."""


class SubmissionError(DafmError, ValueError):
    """A test-server file that the server would reject."""


def expect(value: T, kind: type | tuple[type, ...], *, where: str, hint: str = "") -> T:
    """Return a value of a kind; raise TypeError, which says what came in its place.

    Examples
    --------
    >>> expect(3, str, where="provider names")
    Traceback (most recent call last):
    ...
    TypeError: provider names: expected str, got int (3).
    """
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        came = reprlib.repr(value).replace("\n", " ")
        raise TypeError(
            f"{where}: expected {' or '.join(k.__name__ for k in kinds)}, got "
            f"{type(value).__name__} ({came}).{f' {hint}' if hint else ''}"
        )
    return value


MANY = 40
"""Names beyond which not all known ones are listed."""
LONG = 200
"""Characters beyond which a name resembles nothing: comparing takes their product."""


def closest(name: str, names: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, else the known names; of many
    the five closest.

    Examples
    --------
    >>> closest("meam", ["mean", "max"])
    "; did you mean 'mean'?"
    >>> closest("cir", ["cirr", "icir"])
    "; did you mean 'cirr'?"
    >>> closest("zzz", ["mean", "max"])
    '; known: max, mean'
    """
    known = sorted(n for n in names if len(n) <= LONG)
    name = name[:LONG]
    if matches := difflib.get_close_matches(name, known, n=5):
        likeness = {m: difflib.SequenceMatcher(None, m, name).ratio() for m in matches}
        # Of names that are equally near, the one that starts alike: cir is cirr rather than icir.
        best = max(matches, key=lambda m: (likeness[m], m[:1] == name[:1]))
        return f"; did you mean {best!r}?"
    if len(known) > MANY:
        return (
            f"; the closest are {', '.join(difflib.get_close_matches(name, known, n=5, cutoff=0))}"
        )
    return f"; known: {', '.join(known)}" if known else "; none are known"
