"""Whether a comparison that was done again came out the same, number by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

PRINTED: Final = 0.005
"""Half of the last digit of a percentage as tables print it."""

_ABOUT: Final = ("versions", "threads", "data", "providers", "bank", "fusers", "seed", "design")
"""Parts of a provenance that can explain another number."""


@dataclass(frozen=True)
class Repeated:
    """What ``repeated`` found.

    Parameters
    ----------
    n_numbers : int
        Numbers of either record, those of the record of trials left out.
    n_exact : int
        Those equal to the last bit.
    differing : tuple of str
        Where a number or a word differs by more than half of the last printed digit.
    largest : float
        Largest difference of two numbers at one place, in the unit of that place.
    changed : tuple of str
        Parts of the provenance that are not the same, a line each.
    """

    n_numbers: int
    n_exact: int
    differing: tuple[str, ...]
    largest: float
    changed: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether every number is the same as printed, and every sentence the same."""
        return not self.differing

    @property
    def lines(self) -> list[str]:
        """The finding in sentences."""
        if self.n_exact == self.n_numbers and self.agrees:
            first = f"Repeated: all {self.n_numbers} numbers agree to the last bit."
        elif self.agrees:
            first = (
                f"Repeated: all {self.n_numbers} numbers agree as printed, {self.n_exact} of them "
                f"to the last bit; the largest difference is {self.largest:.1g}."
            )
        else:
            places = ", ".join(self.differing[:5])
            first = (
                f"Repeated: {len(self.differing)} of {self.n_numbers} numbers differ, by up to "
                f"{self.largest:.3g}: {places}."
            )
        return [first, *self.changed]


def repeated(before: Mapping[str, Any], after: Mapping[str, Any]) -> Repeated:
    """Compare two records that ``Comparison.to_json`` gave, or two lists of them.

    Examples
    --------
    >>> repeated({"rows": [{"value": 1.0}]}, {"rows": [{"value": 1.001}]}).lines
    ['Repeated: all 1 numbers agree as printed, 0 of them to the last bit; the largest difference \
is 0.001.']
    """
    after, added = _as_far_as(before, after)
    old, new = dict(_leaves(before)), dict(_leaves(after))
    places = [place for place in dict.fromkeys([*old, *new]) if not _is_apart(place)]
    numbers = [p for p in places if _is_number(old.get(p)) or _is_number(new.get(p))]
    exact = [p for p in numbers if old.get(p) == new.get(p)]
    gaps = {
        p: abs(old[p] - new[p])
        for p in numbers
        if _is_number(old.get(p)) and _is_number(new.get(p))
    }
    differing = [p for p in numbers if gaps.get(p, 1.0) > PRINTED]
    differing += [p for p in places if p not in numbers and old.get(p) != new.get(p)]
    return Repeated(
        n_numbers=len(numbers),
        n_exact=len(exact),
        differing=tuple(differing),
        largest=max(gaps.values(), default=0.0),
        changed=(*_changes(before, after), *added),
    )


def _as_far_as(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[Mapping[str, Any], list[str]]:
    """Return what is in both records, and a line for each part that an older dafm did not write."""
    parts: list[Mapping[str, Any]] = []
    lacking: dict[str, None] = {}
    for old, new in zip(_parts(before), _parts(after), strict=False):
        parts.append({key: value for key, value in new.items() if key in old})
        lacking |= dict.fromkeys(key for key in new if key not in old)
    said = [f"not compared: {key}, which the file does not have" for key in lacking]
    return ({**after, "comparisons": parts} if "comparisons" in after else parts[0]), said


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_apart(place: str) -> bool:
    """Whether a place says how the record came about, or what is counted from run to run."""
    return "provenance." in place or "audits.trials" in place


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that holds no others, with where it stands; rows by their names."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            name = inner.get("name", i) if isinstance(inner, Mapping) else i
            yield from _leaves(inner, f"{place}.{name}")
    else:
        yield place, value


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs in how the two came about."""
    pairs = zip(_parts(before), _parts(after), strict=False)
    for old, new in ((a.get("provenance", {}), b.get("provenance", {})) for a, b in pairs):
        for part in _ABOUT:
            one, other = (dict(_leaves(record.get(part), part)) for record in (old, new))
            for place in dict.fromkeys([*one, *other]):
                if one.get(place) != other.get(place):
                    yield f"changed: {place} was {one.get(place)}, is {other.get(place)}"


def _parts(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(record.get("comparisons", [record]))
