"""What a fit remembers, and what must not be fused or evaluated because of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dafm_core.errors import AlignmentError, LeakageError
from dafm_core.ground.ids import hash_strings
from dafm_core.store.gallery import Gallery
from dafm_core.store.stack import SimilarityStack

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset

PASSPORT_FIELDS = ("fingerprint", "options")
"""What a fuser remembers of a provider's passport."""


@dataclass(frozen=True, kw_only=True)
class FitRecord:
    """What a fuser must remember of the stack it was fitted on.

    Parameters
    ----------
    providers : tuple of str
        Names, sorted.
    passports : mapping of str to mapping
        Fingerprint and options of each provider.
    protocol : str
    query_ids : frozenset of str
        Queries whose targets the fit used, that are in the bank it made, or that were those of a
        provider which is a fusion itself; empty for rules that learn nothing.
    bank_ids : frozenset of str
        Unlabelled queries of a bank that was given; they are never fused.
    query_hashes : mapping of str to str
        Of the references and targets of the queries of the stack: another dataset may use an id
        anew. An id without one, as in records of older fits, is compared alone.
    """

    providers: tuple[str, ...]
    passports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    protocol: str
    query_ids: frozenset[str] = field(default=frozenset(), repr=False)
    bank_ids: frozenset[str] = field(default=frozenset(), repr=False)
    query_hashes: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, stack: SimilarityStack, *, labelled: bool, bank: SimilarityStack | None
    ) -> FitRecord:
        """Return the record of a fit on a stack, perhaps with a bank of other queries."""
        return cls(
            providers=stack.names,
            passports={
                name: {key: passport[key] for key in PASSPORT_FIELDS if key in passport}
                for name, passport in stack.gallery.passports.items()
            },
            protocol=stack.protocol,
            query_ids=frozenset(stack.query_ids if labelled else ())
            | stack.gallery.fitted_query_ids,
            bank_ids=frozenset(bank.query_ids if bank is not None else ()),
            query_hashes=_hashes(stack.dataset) if labelled else {},
        )

    def seen_of(self, dataset: Dataset) -> frozenset[str]:
        """Return the queries of a dataset whose targets the fit used: the same id, references and
        targets, whatever the protocol is called.
        """
        same = self.query_ids.intersection(dataset.query_ids)
        if not same or dataset.protocol == self.protocol:
            return same
        hashes = _hashes(dataset)
        return frozenset(n for n in same if self.query_hashes.get(n, hashes[n]) == hashes[n])

    def check(
        self,
        gallery: Gallery,
        query_ids: Collection[str] = (),
        *,
        who: str,
        may_lack: bool = False,
    ) -> tuple[str, ...]:
        """Check that a gallery, and queries against it, are what the fit was for.

        Parameters
        ----------
        gallery : Gallery
        query_ids : collection of str
            Queries to fuse, where they are known.
        who : str
            Start of every message: the fuser.
        may_lack : bool
            Whether the fuser can do without some of its providers.

        Returns
        -------
        tuple of str
            The providers it was fitted on that the gallery lacks.

        Raises
        ------
        AlignmentError
            For other providers, or other models behind them.
        LeakageError
            If the bank holds one of the queries.
        """
        lacking = tuple(name for name in self.providers if name not in gallery.names)
        if not set(gallery.names) <= set(self.providers) or (lacking and not may_lack):
            raise AlignmentError(
                f"{who}: expected providers {', '.join(self.providers)}, got "
                f"{', '.join(gallery.names)}. Score the missing ones, or train on these."
            )
        for name in gallery.names:
            fitted = self.passports.get(name, {}).get("fingerprint", {})
            scored = gallery.passports.get(name, {}).get("fingerprint", {})
            for key in sorted(fitted.keys() & scored.keys()):
                if fitted[key] != scored[key]:
                    raise AlignmentError(
                        f"{who}: provider {name!r}: expected {key} {fitted[key]!r}, as it was "
                        f"fitted on, got {scored[key]!r}. Score with the same model, or train "
                        "again."
                    )
        shared = self.bank_ids.intersection(query_ids)
        if shared:
            raise LeakageError(
                f"{who}: the bank holds {len(shared)} of the queries to fuse, e.g. "
                f"{min(shared)!r}. Give a bank of other queries."
            )
        return lacking

    def refuse(self, dataset: Dataset, *, who: str) -> None:
        """Raise LeakageError if the fit used the targets of any query of a dataset."""
        refuse_fitted(self.seen_of(dataset), dataset.query_ids, who=who)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; ids sorted."""
        return {
            "providers": list(self.providers),
            "passports": {name: dict(passport) for name, passport in self.passports.items()},
            "protocol": self.protocol,
            "query_ids": sorted(self.query_ids),
            "bank_ids": sorted(self.bank_ids),
            "query_hashes": dict(sorted(self.query_hashes.items())),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FitRecord:
        """Return the record that :meth:`to_json` wrote."""
        return cls(
            providers=tuple(values["providers"]),
            passports=dict(values["passports"]),
            protocol=values["protocol"],
            query_ids=frozenset(values["query_ids"]),
            bank_ids=frozenset(values["bank_ids"]),
            query_hashes=dict(values.get("query_hashes", {})),
        )


def _hashes(dataset: Dataset) -> dict[str, str]:
    """Return a short hash of each query's references and targets, by id."""
    columns = [dataset.queries[name].to_list() for name in ("query_id", "references", "targets")]
    return {
        name: hash_strings([*(references or ()), "", *(targets or ())])[:16]
        for name, references, targets in zip(*columns, strict=True)
    }


def refuse_fitted(fitted: frozenset[str], query_ids: Iterable[str], *, who: str) -> None:
    """Raise LeakageError if any of the queries is among those that something was fitted on."""
    asked = list(query_ids)
    seen = [query_id for query_id in asked if query_id in fitted]
    if seen:
        raise LeakageError(
            f"{who}: expected queries it was not fitted on, got {len(seen)} of {len(asked)} that "
            f"it was, e.g. {seen[0]!r}. Hold queries out, or use folds."
        )
