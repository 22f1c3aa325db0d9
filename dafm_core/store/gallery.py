"""What a live query also has: providers, candidates, and what is known of them without any score.

A fuser is made ready for a gallery (``fuser.scorer(gallery)``) before the first row is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError, closest
from dafm_core.ground.ids import Ids
from dafm_core.store.shortlist import Unknown


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """The candidates of a search, and the models that score them.

    Parameters
    ----------
    names : tuple of str
        Provider names, sorted: the order of the K axis of every tile.
    ids : Ids
        Candidates, in the order of the N axis; made of any sequence of distinct ids.
    passports : mapping of str to mapping
        Where each provider's scores come from, as far as it is known.
    neighbours : mapping of str to ndarray of shape (n_gallery, M), int32
        For providers that know them: each candidate's nearest other candidates, nearest first; -1
        where a neighbour is not in this gallery.
    unknown : mapping of str to {"below", "not-asked"}
        For providers with shortlists: what a candidate is that they do not list (NaN in a tile).

    Raises
    ------
    DatasetError
        If an id stands twice.
    """

    names: tuple[str, ...]
    ids: Ids = field(repr=False)
    passports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    neighbours: Mapping[str, NDArray[np.int32]] = field(default_factory=dict, repr=False)
    unknown: Mapping[str, Unknown] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", Ids.distinct(self.ids, where="gallery"))

    @property
    def n_providers(self) -> int:
        """Number of providers, K."""
        return len(self.names)

    @property
    def n_candidates(self) -> int:
        """Number of candidates, N."""
        return len(self.ids)

    @property
    def only_asked(self) -> bool:
        """Whether every provider scores only what it was asked about."""
        return set(self.names) == {n for n, kind in self.unknown.items() if kind == "not-asked"}

    @property
    def fitted_query_ids(self) -> frozenset[str]:
        """Queries whose targets a provider has seen: that of scores which were fused before."""
        seen = (passport.get("fitted_query_ids", ()) for passport in self.passports.values())
        return frozenset(query_id for ids in seen for query_id in ids)

    def select(self, names: Sequence[str]) -> Gallery:
        """Return the gallery under only these providers, sorted by name.

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
        chosen = set(names)
        return replace(
            self,
            names=tuple(name for name in self.names if name in chosen),
            passports={name: p for name, p in self.passports.items() if name in chosen},
            neighbours={name: n for name, n in self.neighbours.items() if name in chosen},
            unknown={name: kind for name, kind in self.unknown.items() if name in chosen},
        )

    def take(self, ids: Sequence[str]) -> Gallery:
        """Return the gallery with only these candidates, in this order.

        Raises
        ------
        AlignmentError
            If an image is not in the gallery.
        DatasetError
            If one is given twice.
        """
        taken = Ids.distinct(ids, where="gallery")
        columns = self.ids.positions(taken, where="stack", what="gallery image")
        new = np.full(self.n_candidates, -1, np.int64)
        new[columns] = np.arange(len(columns))
        return replace(
            self,
            ids=taken,
            neighbours={
                name: np.where(nearest >= 0, new[nearest], -1).astype(np.int32)[columns]
                for name, nearest in self.neighbours.items()
            },
        )
