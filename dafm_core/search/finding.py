"""Which images of a large gallery a query looks at: those that some score puts first.

They are each provider's nearest, by its score and by what the bank makes of that, and the nearest
of a sum of all. They are found direction by direction, by scans or an engine (``nearest.py``), or
all at once by short codes (``screen.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dafm_core.search.closed_form import N_TOP, Knowledge
from dafm_core.search.code_loops import code_loops
from dafm_core.search.codes import Codes
from dafm_core.search.later import Later
from dafm_core.search.nearest import Direction, Nearest
from dafm_core.search.others import N_SAMPLE, All
from dafm_core.search.screen import Screen
from dafm_core.search.screened import Values
from dafm_core.search.spaces import seen_direction

Vector = NDArray[np.float32]
MANY: Final = 10
"""Queries after which more are to be expected, and machine code is worth its loading."""
AMONG: Final = 8
"""Images by the first numbers of their codes, for each that is wanted by all of them;"""
AMONG_SEEN: Final = 48
"""of scores that a bank divides by their spread, which errs more where that is small;"""
AMONG_OF_ONE: Final = 4
"""of a single provider."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One query, encoded.

    Parameters
    ----------
    queries : mapping of str to ndarray of shape (D,)
        By provider.
    excluded : ndarray of int64
        Columns that are no candidates.
    shown : ndarray of shape (N,), bool, or None
        What a filter lets through.
    depth : int
        First images in each direction that are looked at.
    """

    queries: Mapping[str, Vector]
    excluded: NDArray[np.int64]
    shown: NDArray[np.bool_] | None
    depth: int

    @property
    def n_first(self) -> int:
        """First images of each provider that are surely looked at; fewer than are asked for."""
        return self.depth // 4


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a fusion needs of candidates.

    Parameters
    ----------
    names : tuple of str
    weights : ndarray of shape (K,)
        Of the sum.
    has_bank : bool
        Whether it goes by what a bank makes of scores.
    whole : bool
        Whether it looks at ranks and heads of whole rows.
    """

    names: tuple[str, ...]
    weights: NDArray[np.float64]
    has_bank: bool
    whole: bool


@dataclass(frozen=True, eq=False)
class Candidates:
    """The images that a query looks at.

    Parameters
    ----------
    columns : ndarray of shape (W,), int64
        Ascending.
    n_first : int
        As many of each provider's first images are surely among them.
    every : All, optional
        What is known of all images.
    """

    columns: NDArray[np.int64]
    n_first: int
    every: All | None = None


class Finder(Protocol):
    """Finds candidates."""

    @property
    def how(self) -> str:
        """How, in words that follow "the first images"; nothing where that is exact."""

    @property
    def others(self) -> str:
        """From what ranks of the other images are estimated, in words."""

    def __call__(self, asked: Asked, wanted: Wanted) -> Candidates:
        """Return the images that a query looks at."""


@dataclass(frozen=True, eq=False)
class ByDirections:
    """Looks in one direction after the other.

    Parameters
    ----------
    knowledge : Knowledge
    nearest : mapping of str to Nearest
        By space.
    how, others : str
    """

    knowledge: Knowledge
    nearest: Mapping[str, Nearest]
    how: str
    others: str = f"from a sample of {N_SAMPLE} images"

    def __call__(self, asked: Asked, wanted: Wanted) -> Candidates:
        """Return the images that a query looks at."""
        n = asked.depth + len(asked.excluded)
        raw: list[Direction] = [{name: asked.queries[name]} for name in wanted.names]
        if wanted.has_bank:  # a fusion goes by what the bank makes of scores
            seen = {name: self._seen(asked, name) for name in wanted.names}
            each: list[Direction] = [{name: vector} for name, vector in seen.items()]
            found = self.nearest["seen"]([seen, *each], n, asked.shown)
            n_raw = max(N_TOP, asked.n_first) + len(asked.excluded)
            found += self.nearest["raw"](raw, n_raw, asked.shown)
        else:
            found = self.nearest["raw"]([self._sum(asked, wanted), *raw], n, asked.shown)
        if asked.shown is not None and wanted.whole:
            # A context looks at the head of a whole row, whatever a filter hides.
            found += self.nearest["raw"](raw, N_TOP + len(asked.excluded))
        n_first = 0 if asked.shown is not None else asked.n_first
        return Candidates(_distinct(np.concatenate(found), asked.excluded), n_first)

    def _sum(self, asked: Asked, wanted: Wanted) -> Direction:
        """Return the direction of the weighted sum of standardised scores."""
        direction = {}
        for name, weight in zip(wanted.names, wanted.weights, strict=True):
            std = self.knowledge.row(name, asked.queries[name]).std
            direction[name] = asked.queries[name] * np.float32(weight / std if std else 0)
        return direction

    def _seen(self, asked: Asked, name: str) -> Vector:
        """Return the direction of one provider's scores as the bank sees them."""
        query = asked.queries[name]
        return seen_direction(query, self.knowledge.row(name, query))


class ByCodes:
    """Scores every image by its code, and looks at the best; safe to use from many threads.

    Parameters
    ----------
    knowledge : Knowledge
    codes : Codes
    column_of : ndarray of shape (R,), int64
        See :class:`~screen.Screen`.
    """

    how: str = ", found by codes of eight bits a number"
    others: str = "by those"

    def __init__(self, knowledge: Knowledge, codes: Codes, column_of: NDArray[np.int64]) -> None:
        self._knowledge = knowledge
        self._screen = Screen(codes, column_of)
        self.later = Later(MANY)

    def __call__(self, asked: Asked, wanted: Wanted) -> Candidates:
        """Return the images that a query looks at."""
        self.later.count(1, lambda: self._load(asked, wanted))
        return self._found(self._screen, asked, wanted)

    def _load(self, asked: Asked, wanted: Wanted) -> None:
        """Load machine code where there is any, and use it from now on."""
        loops = code_loops()
        if loops is None:
            return
        quick = Screen(self._screen.codes, self._screen.column_of, loops)
        found = self._found(quick, asked, wanted)  # compiles, or reads what was compiled before
        for name in wanted.names:
            self._knowledge.features[name].scores(found.columns, asked.queries[name])
        self._screen = quick

    def _found(self, screen: Screen, asked: Asked, wanted: Wanted) -> Candidates:
        queries = {name: asked.queries[name] for name in wanted.names}
        screened = screen(
            queries,
            lambda name, query, _: self._knowledge.row(name, query),
            *(wanted.weights, asked.excluded),
            has_bank=wanted.has_bank,
            counted=wanted.whole,
        )
        n_raw, every = max(N_TOP, asked.n_first), range(len(wanted.names))
        among = AMONG_SEEN if wanted.has_bank else AMONG
        total = (screened.sum, asked.depth, among * asked.depth)
        heads = [_head(screened.scores_of(k), n_raw) for k in every]
        found = screened.best([total, *heads], asked.shown)
        if not wanted.whole:
            return Candidates(_distinct(np.concatenate(found), asked.excluded), 0)
        if asked.shown is not None:  # ranks and contexts are of whole rows, whatever is hidden
            found += screened.best(heads)
        others = All(screened, screened.tails(asked.n_first))
        found += [tail.columns for tail in others.tails]
        columns = _distinct(np.concatenate(found), asked.excluded)
        return Candidates(columns, asked.n_first, others)


def _head(values: Values, n: int) -> tuple[Values, int, int]:
    return values, n, AMONG_OF_ONE * n


def _distinct(columns: NDArray[np.int64], excluded: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each column once that is not excluded, ascending; NumPy's own way is slower."""
    ordered = np.sort(columns)
    kept = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    for column in excluded:
        kept[
            np.searchsorted(ordered, column, "left") : np.searchsorted(ordered, column, "right")
        ] = False
    distinct: NDArray[np.int64] = ordered[kept]
    return distinct
