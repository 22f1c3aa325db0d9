"""A stack: a dataset together with the rows of K providers, aligned once, read as tiles (B, K, N).

Queries, targets and candidates are the dataset's; what a live query has too is the gallery's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import AlignmentError, expect
from dafm_core.ground.groups import grouped_folds
from dafm_core.ground.ids import Ids
from dafm_core.ground.ragged import Ragged
from dafm_core.metrics.ranking import Places
from dafm_core.metrics.truth import Truth
from dafm_core.store.gallery import Gallery
from dafm_core.store.given import check_beside, given_matrix
from dafm_core.store.rows import TILE_BYTES, read_tile, stored_rows
from dafm_core.store.shortlist import Shortlist, Unknown
from dafm_core.store.singles import places_of_singles

Value = TypeVar("Value")


STACK = "store.stack() and dafm.score(...) give one."
"""Where a stack comes from, for who hands over something else."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SimilarityStack:
    """K named similarity matrices over the queries and the gallery of one dataset.

    Parameters
    ----------
    dataset : Dataset
        Its queries are the rows of every tile, its gallery the columns.
    gallery : Gallery
        Providers, candidates, passports and neighbours.
    matrices : tuple of ndarray or Shortlist of shape (>= n_queries, >= n_gallery)
        One per name, float16 or float32; may be memory maps.
    rows, columns : ndarray of int64
        Where the stack's queries and candidates stand in the matrices.
    subset_lists : mapping of str to Shortlist
        Of a provider that ranks subsets by another rule than the gallery: that ranking, which
        decides its ``rsubset@K`` and nothing else.
    made : dict, optional
        What was made of the stack and is kept, see :meth:`remembering`.
    whole : SimilarityStack, optional
        What it was selected from, where that keeps what is made of it: what is known of each
        provider by itself need not be made again.
    """

    dataset: Dataset
    gallery: Gallery
    matrices: tuple[NDArray[Any] | Shortlist, ...] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    columns: NDArray[np.int64] = field(repr=False)
    subset_lists: Mapping[str, Shortlist] = field(default_factory=dict, repr=False)
    made: dict[Any, Any] | None = field(default=None, repr=False)
    whole: SimilarityStack | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return (
            f"<SimilarityStack {self.protocol}: {self.n_queries} queries x {self.n_gallery} images "
            f"of {', '.join(self.names)}>"
        )

    @classmethod
    def from_matrices(
        cls,
        matrices: Mapping[str, ArrayLike | Shortlist],
        dataset: Dataset,
        *,
        passports: Mapping[str, Mapping[str, Any]] | None = None,
        neighbours: Mapping[str, NDArray[np.int32]] | None = None,
        unknown: Mapping[str, Unknown] | None = None,
        subset_lists: Mapping[str, Shortlist] | None = None,
        checked: bool = False,
    ) -> SimilarityStack:
        """Return a stack of in-memory or memory-mapped matrices of shape (n_queries, n_gallery).

        Rows follow the dataset's queries, columns its gallery. Of a provider with shortlists,
        ``unknown`` says what an unlisted candidate is: ``"below"`` the last listed score, or
        ``"not-asked"`` about; below where nothing is said. ``checked`` says that all is as it
        must be, as it is in a store, and spares reading them all.

        Raises
        ------
        AlignmentError
            If there is no matrix, or passports or neighbours belong to no provider or no image.
        SimilarityError
            If a matrix has another shape, NaN, infinite scores but -inf where the protocol
            excludes, or scores that float32 does not tell apart; the message names the provider.
        TypeError
            For something else than a mapping of matrices, or a dataset.
        """
        expect(dataset, Dataset, where="stack")
        if not expect(matrices, Mapping, where="stack"):
            raise AlignmentError(
                "stack: expected at least one provider, got none. Score one first."
            )
        shape = (dataset.n_queries, dataset.n_gallery)
        names = tuple(sorted(expect(name, str, where="provider names") for name in matrices))
        arrays = tuple(
            given_matrix(name, matrices[name], dataset, checked=checked) for name in names
        )
        if not checked:
            check_beside(names, shape[1], passports=passports or {}, neighbours=neighbours or {})
        gallery = Gallery(
            names=names,
            ids=dataset.gallery_ids,
            passports=passports or {},
            neighbours=neighbours or {},
            unknown={
                name: (unknown or {}).get(name, "below")
                for name, array in zip(names, arrays, strict=True)
                if isinstance(array, Shortlist) and not array.covers_all(dataset.excluded)
            },
        )
        return cls(
            dataset=dataset,
            gallery=gallery,
            matrices=arrays,
            rows=np.arange(shape[0]),
            columns=np.arange(shape[1]),
            subset_lists=subset_lists or {},
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Provider names, sorted: the order of the K axis."""
        return self.gallery.names

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return self.dataset.protocol

    @property
    def query_ids(self) -> Ids:
        """Query ids, in row order."""
        return self.dataset.query_ids

    @property
    def gallery_ids(self) -> Ids:
        """Candidates, in column order."""
        return self.dataset.gallery_ids

    @property
    def n_providers(self) -> int:
        """Number of providers, K."""
        return self.gallery.n_providers

    @property
    def n_queries(self) -> int:
        """Number of queries, Q."""
        return self.dataset.n_queries

    @property
    def n_gallery(self) -> int:
        """Number of candidates, N."""
        return self.dataset.n_gallery

    @property
    def n_cells(self) -> int:
        """Number of scores, Q x K x N."""
        return self.n_queries * self.n_providers * self.n_gallery

    @cached_property
    def truth(self) -> Truth:
        """Targets, subsets and exclusions of the queries, in columns."""
        return Truth.of(self.dataset)

    @cached_property
    def single_places(self) -> dict[str, Places]:
        """Where every target stands in each provider's own rows, by name; counted once.

        Raises
        ------
        DatasetError
            If a query has no target.
        """
        return places_of_singles(self)

    def notes(self) -> list[str]:
        """Return what whoever reads numbers of this stack should know, a line per finding."""
        own_file = [
            f"{self.protocol}: Rs@K of {name} is that of its own file, and not of its rows"
            for name in self.names
            if name in self.subset_lists
        ]
        for_subsets = [
            f"{self.protocol}: the scores of {name} were made to rank each query's subset, so that "
            "its R@K is not that of the fusion they come from"
            for name, passport in self.gallery.passports.items()
            if passport.get("head") == "subset"
        ]
        return self.dataset.problems() + own_file + for_subsets

    def take_queries(self, query_ids: Sequence[str]) -> SimilarityStack:
        """Return the stack with these queries, in this order.

        Raises
        ------
        DatasetError
            If a query is not in the stack, or given twice.
        """
        dataset = self.dataset.take(query_ids)
        rows = self.query_ids.positions(query_ids)
        return replace(self, dataset=dataset, rows=self.rows[rows], made=None, whole=None)

    def take_gallery(self, gallery_ids: Sequence[str]) -> SimilarityStack:
        """Return the stack with these candidates, in this order.

        Raises
        ------
        AlignmentError
            If an image is not in the stack's gallery.
        """
        columns = self.gallery_ids.positions(gallery_ids, where="stack", what="gallery image")
        return replace(
            self,
            dataset=self.dataset.take_gallery(gallery_ids),
            gallery=self.gallery.take(gallery_ids),
            columns=self.columns[columns],
            made=None,
            whole=None,
        )

    def select(self, names: Sequence[str]) -> SimilarityStack:
        """Return the stack of only these providers, sorted by name.

        Raises
        ------
        AlignmentError
            If a name is unknown (with the closest match), or none is given.
        """
        gallery = self.gallery.select(names)
        by_name = dict(zip(self.names, self.matrices, strict=True))
        return replace(
            self,
            gallery=gallery,
            matrices=tuple(by_name[name] for name in gallery.names),
            made=None if self.made is None else {},
            whole=None if self.made is None else self,
        )

    def remembering(self) -> SimilarityStack:
        """Return the stack as one that keeps what is made of it: several fusers that are fitted on
        it, or on some of its providers, share a query bank, and examples. They go when it goes.
        """
        return replace(self, made={})

    def remember(self, what: Hashable, make: Callable[[], Value]) -> Value:
        """Return what is made of the stack, made once where the stack is remembering."""
        if self.made is None:
            return make()
        if what not in self.made:
            self.made[what] = make()
        value: Value = self.made[what]
        return value

    def labelled(self) -> SimilarityStack:
        """Return the stack without queries that have no target in the gallery."""
        has_target = self.dataset.targets.counts > 0
        if has_target.all():
            return self
        return self.take_queries([self.query_ids[row] for row in np.flatnonzero(has_target)])

    def measured(self) -> SimilarityStack:
        """Return the stack without queries that name no target: what numbers are means over.

        A target that is named and not in the gallery counts as never retrieved. Where no query
        names one, the stack is returned as it is.
        """
        named = (self.dataset.queries["targets"].list.len() > 0).to_numpy()
        if named.all() or not named.any():
            return self
        return self.take_queries([self.query_ids[row] for row in np.flatnonzero(named)])

    def split(
        self, *, test_size: float = 0.5, group_by: str = "group", seed: int = 0
    ) -> tuple[SimilarityStack, SimilarityStack]:
        """Return (fit, held-out) stacks that share no value of a query column.

        Parameters and errors as :meth:`Dataset.split`.
        """
        fit, held_out = self.dataset.split(test_size=test_size, group_by=group_by, seed=seed)
        return self.take_queries(fit.query_ids), self.take_queries(held_out.query_ids)

    def folds(
        self, n_folds: int = 5, *, seed: int = 0, groups: ArrayLike | None = None
    ) -> list[tuple[SimilarityStack, SimilarityStack]]:
        """Return one (training, held-out) pair of stacks per fold; no group is in two folds.

        ``groups``, one per query, are the dataset's unless others are given.

        Raises
        ------
        DatasetError
            If there are fewer groups than folds.
        """
        held_together = self.dataset.groups if groups is None else groups
        fold = grouped_folds(held_together, n_folds, seed=seed)
        ids = np.array(self.query_ids, dtype=object)
        return [
            (self.take_queries(ids[fold != f]), self.take_queries(ids[fold == f]))
            for f in range(n_folds)
        ]

    def tile(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return raw scores of queries ``start:stop``, (B, K, N) float32.

        -inf where excluded; NaN where a provider's shortlist leaves a candidate out.
        """
        return self._read(self.rows[start:stop], self.dataset.excluded.part(slice(start, stop)))

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return raw scores of some queries, by their place in the stack; as :meth:`tile`."""
        return self._read(self.rows[rows], self.dataset.excluded.take(rows))

    def _read(self, rows: NDArray[np.int64], excluded: Ragged) -> NDArray[np.float32]:
        columns = None if self._whole_gallery else self.columns
        return read_tile(self.matrices, rows, columns, excluded)

    def stored(self, k: int, rows: slice) -> NDArray[Any]:
        """Return scores of provider ``k`` as they are stored, (B, N): float16 or float32, what is
        excluded not marked, NaN where a shortlist has none.
        """
        columns = None if self._whole_gallery else self.columns
        return stored_rows(self.matrices[k], self.rows[rows], columns)

    def tiles(
        self, size: int | None = None, *, n_bytes: int = TILE_BYTES
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield (rows, tile) over all queries, ``size`` queries at a time.

        By default as many as keep a tile within ``n_bytes``.
        """
        size = size or max(1, n_bytes // (4 * self.n_providers * self.n_gallery))
        for start in range(0, self.n_queries, size):
            stop = min(start + size, self.n_queries)
            yield slice(start, stop), self.tile(start, stop)

    @cached_property
    def _whole_gallery(self) -> bool:
        width = self.matrices[0].shape[1]
        return len(self.columns) == width and bool((self.columns == np.arange(width)).all())
