"""Ids of a file against ids of a dataset: equal, or the same but for a rule that the user confirms.

Files write one image as ``img01``, ``img01.jpg``, ``./val/img01.png`` or ``0001``. Such ids are
never matched in silence: the message names the rule under which all of them match, and ``--ids``
confirms it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError, OptionError, closest
from dafm_core.ground.ids import Ids

RULES: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        "basename": lambda name: re.split(r"[\\/]", name)[-1],
        "decimal": lambda name: re.sub(r"^(\d+)\.0+$", r"\1", name),
        "extension": lambda name: re.sub(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", "", name),
        "zeros": lambda name: re.sub(r"(?<![\d.])0+(?=\d)", "", name),
        "case": lambda name: name.strip().casefold(),
    }
)
"""What a rule takes away from ids on both sides: folders, ``.0``, an extension such as ``.jpg``,
zeros in front of a number, upper case and blanks at the ends."""


@dataclass(frozen=True, eq=False)
class Match:
    """Where ids of a dataset stand in a file.

    Parameters
    ----------
    order : ndarray of shape (n_wanted,), int64
        Position in the file of each id of the dataset.
    n_left_out : int
        Ids of the file that the dataset does not have.
    """

    order: NDArray[np.int64]
    n_left_out: int


def parse_rule(text: str | None) -> tuple[str, ...]:
    """Return the names in a rule such as ``basename+extension``.

    Raises
    ------
    OptionError
        For a name that is not in :data:`RULES`.
    """
    names = tuple(text.split("+")) if text else ()
    for name in names:
        if name not in RULES:
            raise OptionError(f"import: no rule {name!r} for ids{closest(name, RULES)}")
    return names


def apply_rule(rule: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Return what is left of ids under a rule.

    Examples
    --------
    >>> apply_rule(["basename", "extension"], ["./val/img01.png", "img02"])
    ['img01', 'img02']
    >>> apply_rule(["zeros", "extension"], ["000000001000.jpg", "7"])
    ['1000', '7']
    """
    changes = [change for name, change in RULES.items() if name in rule]
    names = list(ids)
    for change in changes:
        names = [change(name) for name in names]
    return names


def match_all(ids: Sequence[str], wanted: Sequence[str], rule: Sequence[str] = ()) -> Match | None:
    """Return where every wanted id stands among ``ids``, which may be more.

    Returns
    -------
    Match or None
        None where an id is missing, or one of ``ids`` could be meant by two.

    Examples
    --------
    >>> match_all(["c", "a", "b"], ["a", "b"]).order
    array([1, 2])
    >>> match_all(["b.jpg", "a.jpg"], ["a", "b"], ["extension"]).order
    array([1, 0])
    """
    names, goals = apply_rule(rule, ids), apply_rule(rule, wanted)
    place = Ids(names).place
    if len(set(goals)) < len(goals) or not place.keys() >= set(goals):
        return None
    known = set(goals)
    if sum(name in known for name in names) > len(goals):
        return None  # one of them stands twice in the file
    order = np.array([place[goal] for goal in goals], dtype=np.int64)
    return Match(order, len(names) - len(goals))


def translate(ids: Sequence[str], wanted: Sequence[str], rule: Sequence[str]) -> dict[str, str]:
    """Return the wanted id of each id that has exactly one under a rule; two sides, one name.

    Examples
    --------
    >>> translate(["img1.jpg", "other.jpg"], ["img01", "img02"], ["extension", "zeros"])
    {'img1.jpg': 'img01'}
    """
    names, goals = apply_rule(rule, ids), apply_rule(rule, wanted)
    meant = dict(zip(goals, wanted, strict=True))
    if len(meant) < len(goals) or len(set(names)) < len(names):
        return {}
    return {name: meant[rest] for name, rest in zip(ids, names, strict=True) if rest in meant}


def candidate_rules() -> Iterator[tuple[str, ...]]:
    """Yield rules to try, those that take less away first."""
    for size in range(1, len(RULES) + 1):
        yield from combinations(RULES, size)


def find_rule(ids: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...] | None:
    """Return the first rule under which every wanted id is found among ``ids``, or None."""
    if len(ids) < len(wanted):
        return None
    return next((rule for rule in candidate_rules() if match_all(ids, wanted, rule)), None)


def match_or_explain(
    ids: Sequence[str], wanted: Sequence[str], rule: Sequence[str], *, what: str, where: str
) -> Match:
    """Return where every wanted id stands among ``ids``: as they are, else under the rule.

    Raises
    ------
    AlignmentError
        If an id is missing or stands twice; says under which rule all would match.
    """
    match = match_all(ids, wanted) or (match_all(ids, wanted, rule) if rule else None)
    if match is not None:
        return match
    place = Ids(ids).place
    known = set(wanted)
    twice = [name for i, name in enumerate(ids) if place[name] != i and name in known]
    if twice:
        raise AlignmentError(
            f"{where}: {len(twice)} {what} ids stand twice, e.g. {twice[0]!r}. Keep one of each."
        )
    unknown = [name for name in place if name not in known]
    missing = [name for name in wanted if name not in place]
    raise AlignmentError(
        f"{where}: {_count(unknown, what, 'unknown to the store')}"
        f"{', and ' if unknown else ''}{_count(missing, what, 'missing')}"
        f"{rule_hint(find_rule(ids, wanted), unknown)}"
    )


def _count(names: Sequence[str], what: str, problem: str) -> str:
    return f"{len(names)} {what} ids are {problem}, e.g. {names[0]!r}" if names else ""


def rule_hint(rule: Sequence[str] | None, unknown: Sequence[str]) -> str:
    """Return the end of a message: the rule that would match, or the advice to check the split."""
    if rule is None or not unknown:
        return ". Is it the same split?"
    name = "+".join(rule)
    rest = apply_rule(rule, unknown[:1])[0]
    return (
        f". All match by the rule {name!r}, which reads {unknown[0]!r} as {rest!r}: confirm it "
        f"with --ids {name}."
    )
