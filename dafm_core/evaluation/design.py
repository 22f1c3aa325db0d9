"""How training and held-out queries are separated: one value that splits and describes itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.ground.groups import connected_groups
from dafm_core.ground.ids import hash_strings
from dafm_core.store.stack import SimilarityStack


class Part(NamedTuple):
    """Held-out queries, and those to fit on for them; none where fusers are used as they are."""

    train: SimilarityStack | None
    test: SimilarityStack


@runtime_checkable
class Design(Protocol):
    """A way to separate training and held-out queries.

    Held-out parts are disjoint and make up the stack.
    """

    @property
    def words(self) -> str:
        """The design in words, for tables."""
        ...

    @property
    def key(self) -> str:
        """The design with everything that decides it, for the count of trials."""
        ...

    def groups(self, dataset: Dataset) -> NDArray[Any]:
        """Return a group per query: what is resampled as a whole, (n_queries,)."""
        ...

    def parts(self, stack: SimilarityStack) -> list[Part]:
        """Return the parts of a stack."""
        ...


@dataclass(frozen=True)
class Folds:
    """Every query is ranked by copies fitted on the other folds; no group is in two folds.

    Parameters
    ----------
    n_folds : int, default=5
    seed : int, default=0
        Of the deal of groups.
    connected : bool, default=False
        Whether queries that share a target or a reference are of one group too, directly or through
        other queries. On CIRR three quarters of val then hang together.
    """

    n_folds: int = 5
    seed: int = 0
    connected: bool = False

    @property
    def words(self) -> str:
        """The design in words."""
        shared = "group, target or reference" if self.connected else "group"
        return f"cross-fitted on {self.n_folds} folds that share no {shared}"

    def groups(self, dataset: Dataset) -> NDArray[Any]:
        """Return a group per query: what stays in one fold, and is resampled as a whole."""
        if not self.connected:
            return dataset.groups
        columns = [dataset.queries[name].to_list() for name in ("group", "targets", "references")]
        rows = zip(*columns, strict=True)
        names = [[("group", group), *targets, *references] for group, targets, references in rows]
        return np.array(connected_groups(names))

    @property
    def key(self) -> str:
        """Words and seed."""
        return f"{self.words}, seed {self.seed}"

    def parts(self, stack: SimilarityStack) -> list[Part]:
        """Return one part per fold; raises DatasetError where there are fewer groups than folds."""
        return [
            Part(*pair)
            for pair in stack.folds(self.n_folds, seed=self.seed, groups=self.groups(stack.dataset))
        ]


@dataclass(frozen=True)
class Train:
    """Copies are fitted on other queries, and rank all queries compared on.

    Parameters
    ----------
    stack : SimilarityStack
        Training queries, of the same or of another protocol.
    """

    stack: SimilarityStack = field(repr=False)

    def __repr__(self) -> str:
        return f"Train({self.stack!r})"

    @property
    def words(self) -> str:
        """The design in words."""
        return f"fitted on {self.stack.n_queries} queries of {self.stack.protocol}"

    @property
    def key(self) -> str:
        """Words and a hash of the training queries, in any order."""
        return f"{self.words}, {hash_strings(sorted(self.stack.query_ids))[:12]}"

    def groups(self, dataset: Dataset) -> NDArray[Any]:
        """Return the dataset's groups."""
        return dataset.groups

    def parts(self, stack: SimilarityStack) -> list[Part]:
        """Return the one part."""
        return [Part(self.stack, stack)]


@dataclass(frozen=True)
class AsGiven:
    """Fusers are used as they are: fitted on other queries, or static rules with their defaults."""

    @property
    def words(self) -> str:
        """The design in words."""
        return "fusers as given: fitted on other queries, or static rules with their defaults"

    @property
    def key(self) -> str:
        """The words."""
        return self.words

    def groups(self, dataset: Dataset) -> NDArray[Any]:
        """Return the dataset's groups."""
        return dataset.groups

    def parts(self, stack: SimilarityStack) -> list[Part]:
        """Return the one part, with nothing to fit on."""
        return [Part(None, stack)]


@dataclass(frozen=True)
class Leakage:
    """What held-out queries still share with the training part, as shares of them in [0, 1].

    ``groups`` is None where the training part is of another protocol, whose groups may bear the
    same names.
    """

    groups: float | None
    targets: float
    references: float


def leakage(parts: Sequence[Part]) -> Leakage | None:
    """Return the shares of held-out queries whose group, target or reference the fit part has.

    None where nothing was fitted.
    """
    counts = np.zeros(3)
    fitted = [part for part in parts if part.train is not None]
    for train, test in fitted:
        for column, name in enumerate(("group", "targets", "references")):
            seen = set().union(*_named(train.dataset, name)) if train is not None else set()
            counts[column] += sum(bool(names & seen) for names in _named(test.dataset, name))
    if not fitted:
        return None
    shares = counts / max(1, sum(part.test.n_queries for part in fitted))
    groups, targets, references = shares.tolist()
    alike = all(train and train.protocol == test.protocol for train, test in fitted)
    return Leakage(groups if alike else None, targets, references)


def _named(dataset: Dataset, column: str) -> list[set[str]]:
    values = dataset.queries[column].to_list()
    return [{value} if column == "group" else set(value or ()) for value in values]
