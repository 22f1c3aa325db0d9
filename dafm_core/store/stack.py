"""From K stored matrices to tiles (B, K, N): aligned by name and id, read a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dafm_core.errors import AlignmentError, SimilarityError, closest
from dafm_core.ground.ragged import Ragged
from dafm_core.store.store import SimilarityStore

AGREED_FIELDS = (
    "protocol",
    "queries_sha256",
    "gallery_sha256",
    "dataset_options",
    "direction",
)
"""Passport fields in which all providers of a stack must agree."""

TILE_BYTES = 32 << 20
"""Memory of one tile of raw scores; a fuser's own channels multiply it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SimilarityStack:
    """K named similarity matrices over the same queries and gallery.

    Parameters
    ----------
    protocol : str
    names : tuple of str
        Provider names, sorted: the order of the K axis, however providers were added.
    matrices : tuple of ndarray of shape (>= n_queries, >= n_gallery)
        One per name, float16 or float32; may be memory maps.
    query_ids, gallery_ids : tuple of str
    excluded : Ragged of n_queries rows
        Gallery positions removed from each query's ranking.
    rows, columns : ndarray of int64
        Where the stack's queries and candidates stand in the matrices.
    passports : mapping of str to mapping
        Passport of each provider.
    neighbours : mapping of str to ndarray of shape (n_gallery, M), int32
        For providers that know them: each candidate's nearest other candidates, nearest first; -1
        where a neighbour is not in this stack's gallery.
    """

    protocol: str
    names: tuple[str, ...]
    matrices: tuple[NDArray[Any], ...] = field(repr=False)
    query_ids: tuple[str, ...] = field(repr=False)
    gallery_ids: tuple[str, ...] = field(repr=False)
    excluded: Ragged = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    columns: NDArray[np.int64] = field(repr=False)
    passports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    neighbours: Mapping[str, NDArray[np.int32]] = field(default_factory=dict, repr=False)

    @classmethod
    def from_matrices(
        cls,
        matrices: Mapping[str, ArrayLike],
        *,
        protocol: str,
        query_ids: Sequence[str],
        gallery_ids: Sequence[str],
        excluded: Ragged | None = None,
        passports: Mapping[str, Mapping[str, Any]] | None = None,
        neighbours: Mapping[str, NDArray[np.int32]] | None = None,
    ) -> SimilarityStack:
        """Return a stack of in-memory or memory-mapped matrices of shape (n_queries, n_gallery).

        Raises
        ------
        AlignmentError
            If there is no matrix.
        SimilarityError
            If a matrix has another shape; the message names the provider.
        """
        if not matrices:
            raise AlignmentError(
                "stack: expected at least one provider, got none. Score one first."
            )
        shape = (len(query_ids), len(gallery_ids))
        names = tuple(sorted(matrices))
        arrays = tuple(np.asanyarray(matrices[name]) for name in names)
        for name, array in zip(names, arrays, strict=True):
            if array.shape != shape:
                raise SimilarityError(
                    f"provider {name!r}: expected a matrix of shape {shape}, got {array.shape}. "
                    "Rows follow queries, columns follow the gallery."
                )
        return cls(
            protocol=protocol,
            names=names,
            matrices=arrays,
            query_ids=tuple(query_ids),
            gallery_ids=tuple(gallery_ids),
            excluded=excluded or Ragged.empty(shape[0]),
            rows=np.arange(shape[0]),
            columns=np.arange(shape[1]),
            passports=passports or {},
            neighbours=neighbours or {},
        )

    @classmethod
    def from_store(
        cls, store: SimilarityStore, names: Sequence[str] | None = None
    ) -> SimilarityStack:
        """Return the stack of a store's providers, memory-mapped.

        Parameters
        ----------
        store : SimilarityStore
        names : sequence of str, optional
            All complete providers by default.

        Raises
        ------
        AlignmentError
            If there are none, or two passports disagree; says in which field, and whose.
        StoreError
            For an unknown name (with the closest match) or a damaged file.
        """
        names = sorted(store.providers if names is None else names)
        if not names:
            raise AlignmentError(f"{store.path}: nothing is scored yet. Run dafm score first.")
        passports = {name: store.passport(name) for name in names}
        for field_name in AGREED_FIELDS:
            values = {name: passports[name].get(field_name) for name in names}
            odd = [name for name in names if values[name] != values[names[0]]]
            if odd:
                raise AlignmentError(
                    f"{store.path}: passports disagree in {field_name!r}: {names[0]} has "
                    f"{values[names[0]]!r}, {odd[0]} has {values[odd[0]]!r}. Score one again."
                )
        neighbours = {name: store.neighbours(name) for name in names}
        return cls.from_matrices(
            {name: store.scores(name) for name in names},
            protocol=store.protocol,
            query_ids=store.dataset.query_ids,
            gallery_ids=store.dataset.gallery_ids,
            excluded=store.dataset.excluded,
            passports=passports,
            neighbours={name: ids for name, ids in neighbours.items() if ids is not None},
        )

    @property
    def n_providers(self) -> int:
        """Number of providers, K."""
        return len(self.names)

    @property
    def n_queries(self) -> int:
        """Number of queries, Q."""
        return len(self.query_ids)

    @property
    def n_gallery(self) -> int:
        """Number of candidates, N."""
        return len(self.gallery_ids)

    def take_queries(self, query_ids: Sequence[str]) -> SimilarityStack:
        """Return the stack with these queries, in this order.

        Raises
        ------
        AlignmentError
            If a query is not in the stack.
        """
        rows = _positions(query_ids, self.query_ids, what="query")
        return replace(
            self,
            query_ids=tuple(query_ids),
            rows=self.rows[rows],
            excluded=self.excluded.take(rows),
        )

    def take_gallery(self, gallery_ids: Sequence[str]) -> SimilarityStack:
        """Return the stack with these candidates, in this order.

        Raises
        ------
        AlignmentError
            If an image is not in the stack's gallery.
        """
        columns = _positions(gallery_ids, self.gallery_ids, what="gallery image")
        new = np.full(self.n_gallery, -1, np.int64)
        new[columns] = np.arange(len(columns))
        moved = {
            name: np.where(ids >= 0, new[ids], -1).astype(np.int32)[columns]
            for name, ids in self.neighbours.items()
        }
        return replace(
            self,
            gallery_ids=tuple(gallery_ids),
            columns=self.columns[columns],
            excluded=self.excluded.relabel(new),
            neighbours=moved,
        )

    def select(self, names: Sequence[str]) -> SimilarityStack:
        """Return the stack of only these providers, sorted by name.

        Raises
        ------
        AlignmentError
            If a name is unknown (with the closest match), or none is given.
        """
        for name in names:
            if name not in self.names:
                raise AlignmentError(f"stack: no provider {name!r}{closest(name, self.names)}")
        if not names:
            raise AlignmentError("stack: expected at least one provider, got none.")
        keep = [i for i, name in enumerate(self.names) if name in set(names)]
        kept = tuple(self.names[i] for i in keep)
        return replace(
            self,
            names=kept,
            matrices=tuple(self.matrices[i] for i in keep),
            passports={name: p for name, p in self.passports.items() if name in kept},
            neighbours={name: n for name, n in self.neighbours.items() if name in kept},
        )

    def tile(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return raw scores of queries ``start:stop``, (B, K, N) float32, -inf where excluded."""
        rows = self.rows[start:stop]
        tile = np.empty((len(rows), self.n_providers, self.n_gallery), np.float32)
        for k, matrix in enumerate(self.matrices):
            block = matrix[rows]
            tile[:, k] = block if self._whole_gallery else block[:, self.columns]
        cells = self.excluded.take(np.arange(start, start + len(rows)))
        tile[cells.rows, :, cells.values] = -np.inf
        return tile

    def tiles(self, size: int | None = None) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield (rows, tile) over all queries, ``size`` queries at a time.

        By default as many as keep a tile within ``TILE_BYTES``.
        """
        size = size or max(1, TILE_BYTES // (4 * self.n_providers * self.n_gallery))
        for start in range(0, self.n_queries, size):
            stop = min(start + size, self.n_queries)
            yield slice(start, stop), self.tile(start, stop)

    @cached_property
    def _whole_gallery(self) -> bool:
        width = self.matrices[0].shape[1]
        return len(self.columns) == width and bool((self.columns == np.arange(width)).all())


def _positions(wanted: Sequence[str], ids: Sequence[str], *, what: str) -> NDArray[np.int64]:
    index = {name: i for i, name in enumerate(ids)}
    try:
        return np.array([index[name] for name in wanted], dtype=np.int64)
    except KeyError as error:
        raise AlignmentError(
            f"stack: no {what} {error.args[0]!r} among {len(index)}. Was it scored with it?"
        ) from None
