"""What is in a store: counts, problems, each provider's passport and cost, and the audits.

Measuring is done in ``audit.py``; reading files in ``store``; showing the result in ``reporting``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from dafm_core.comparison.audit import Audits, audit
from dafm_core.errors import StoreError
from dafm_core.evaluation.evaluate import by_tag, evaluate_providers
from dafm_core.evaluation.learning_curve import LearningCurve
from dafm_core.evaluation.learning_curve import learning_curve as measure_curve
from dafm_core.ground.quick_rows import load_for
from dafm_core.metrics.truth import Truth

if TYPE_CHECKING:
    from dafm_core.ground.progress import Progress
    from dafm_core.store.store import SimilarityStore

N_DRAWS: Final = 4
"""Of the labels, in each fold of a learning curve."""
N_HELD_OUT: Final = 2
"""Folds of five that a learning curve is measured on: a minute for two thousand queries."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one provider took when it was scored on one machine; None where it is not known.

    Parameters
    ----------
    ms_per_query : float or None
        Milliseconds.
    peak_memory_gb : float or None
        Gibibytes of main memory of the whole process.
    """

    ms_per_query: float | None = None
    peak_memory_gb: float | None = None

    @classmethod
    def read(cls, store: SimilarityStore, name: str) -> Self:
        """Return the cost that a store holds for one provider."""
        recorded = store.cost(name)
        return cls(
            ms_per_query=recorded.get("ms_per_query"),
            peak_memory_gb=recorded.get("peak_memory_gb"),
        )


def read_costs(path: str | Path) -> dict[str, Cost]:
    """Return the cost of every provider of a store."""
    from dafm_core.store.store import SimilarityStore

    store = SimilarityStore.open(path)
    return {name: Cost.read(store, name) for name in store.providers}


@dataclass(frozen=True, kw_only=True)
class StoredProvider:
    """One provider's matrix in a store.

    Parameters
    ----------
    name, source, dtype : str
        ``source`` says whether the matrix was scored here or imported.
    fingerprint : mapping of str to str
        What decides the scores, e.g. the checksum of a checkpoint.
    tied_share : float
        Share of cells, in [0, 1], whose value stands more than once in their row.
    missing_images : tuple of str
        Ids of gallery images that could not be read.
    cost : Cost
    passport, recorded_cost : mapping
        As the store's files have them, the checksums of blocks left out.
    """

    name: str
    source: str
    dtype: str
    fingerprint: Mapping[str, str]
    tied_share: float
    missing_images: tuple[str, ...]
    cost: Cost
    passport: Mapping[str, Any] = field(repr=False)
    recorded_cost: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, store: SimilarityStore, name: str) -> Self:
        """Return what a store holds of one provider."""
        passport = {key: value for key, value in store.passport(name).items() if key != "blocks"}
        return cls(
            name=name,
            source=str(passport.get("source", "")),
            dtype=str(passport.get("dtype", "")),
            fingerprint={k: str(v) for k, v in passport.get("fingerprint", {}).items()},
            tied_share=float(passport.get("tied_share", 0.0)),
            missing_images=tuple(passport.get("missing_images", ())),
            cost=Cost.read(store, name),
            passport=passport,
            recorded_cost=store.cost(name),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the passport with the cost."""
        return {**self.passport, "cost": dict(self.recorded_cost)}


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What ``inspect_store`` returns.

    Parameters
    ----------
    store : str
        Path of the folder.
    protocol : str
    n_queries, n_gallery, n_groups : int
    problems : tuple of str
        One line for each kind of id that is not in the gallery, for each provider that is a fusion
        fitted on some of these queries, and for whatever else a reader of the numbers should know.
    unfinished : tuple of str
        Providers whose scoring was interrupted.
    providers : tuple of StoredProvider
    n_measured : int
        Queries that name a target: those that the audits are about.
    audits : Audits or None
        None where no matrix is complete, or no query names a target.
    by_tag : mapping of tag to mapping of provider to mapping of metric to float
        Means over the queries of each tag, in percent, None where undecided; empty where there are
        no tags.
    damage : tuple of str or None
        One line for each block of rows that does not match its checksum; None where checksums were
        not asked for.
    labels : mapping of str to str
        What tables call a provider; its name where left out.
    learning_curve : LearningCurve or None
        What labels buy; None where it was not asked for.
    """

    store: str
    protocol: str
    n_queries: int
    n_gallery: int
    n_groups: int
    problems: tuple[str, ...]
    unfinished: tuple[str, ...]
    providers: tuple[StoredProvider, ...]
    n_measured: int
    audits: Audits | None
    by_tag: Mapping[str, Mapping[str, Mapping[str, float | None]]]
    damage: tuple[str, ...] | None
    labels: Mapping[str, str] = field(default_factory=dict)
    learning_curve: LearningCurve | None = None

    def label(self, name: str) -> str:
        """Return what tables and sentences call a provider."""
        return self.labels.get(name, name)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; the audits' shares and scores in [0, 1]."""
        return {
            "store": self.store,
            "protocol": self.protocol,
            "n_queries": self.n_queries,
            "n_gallery": self.n_gallery,
            "n_groups": self.n_groups,
            "problems": list(self.problems),
            "unfinished": list(self.unfinished),
            "providers": [provider.to_json() for provider in self.providers],
            "n_measured": self.n_measured,
            "audits": None if self.audits is None else self.audits.to_json(),
            "by_tag": self.by_tag,
            "damage": None if self.damage is None else list(self.damage),
            "labels": dict(self.labels),
            "learning_curve": self.learning_curve and self.learning_curve.to_json(),
        }


def inspect_store(
    store: SimilarityStore,
    *,
    verify: bool = False,
    learning_curve: bool = False,
    labels: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Inspect a store, and audit its single models on the queries that name a target.

    Parameters
    ----------
    store : SimilarityStore
    verify : bool, default=False
        Whether to compare every block of rows with its checksum, which reads all of them.
    learning_curve : bool, default=False
        Whether to fit fusions on parts of the labels, to see what labels buy.
    labels : mapping of str to str, optional
        What tables call a provider.
    progress : callable, optional
        Told of the learning curve.

    Raises
    ------
    StoreError
        If a file of the store cannot be read, or, where ``verify`` does not ask for a list of what
        is damaged, does not match its checksum.
    DatasetError
        If a learning curve is asked for, and no query has a target, or there are too few groups.

    Notes
    -----
    A provider that is damaged is left out of the audits.
    """
    dataset = store.dataset
    damage: dict[str, list[str]] = {}
    if verify:
        with ThreadPoolExecutor() as threads:
            found = threads.map(lambda name: _damage(store, name), store.providers)
            _prepare(store)  # checksums are counted without Python's lock
            damage = dict(zip(store.providers, found, strict=True))
    whole = [name for name in store.providers if not damage.get(name)]
    n_measured = int((dataset.queries["targets"].list.len() > 0).sum())
    audits, tags, problems = None, {}, dataset.problems()
    if whole and n_measured:
        all_queries = store.stack(whole, verify=not verify)
        stack, problems = all_queries.measured(), all_queries.notes()
        audits = audit(stack)
        tags = by_tag(evaluate_providers(stack, allow_fitted=True), dataset.metrics)
    curve = None
    if learning_curve:
        stack = store.stack(whole, verify=not verify)
        curve = measure_curve(stack, n_draws=N_DRAWS, held_out=N_HELD_OUT, progress=progress)
    return Inspection(
        store=str(store.path),
        protocol=store.protocol,
        n_queries=dataset.n_queries,
        n_gallery=dataset.n_gallery,
        n_groups=len(set(dataset.groups.tolist())),
        problems=(*problems, *_in_sample(store, whole)),
        unfinished=store.unfinished,
        providers=tuple(StoredProvider.read(store, name) for name in whole),
        n_measured=n_measured,
        audits=audits,
        by_tag=tags,
        damage=tuple(line for lines in damage.values() for line in lines) if verify else None,
        labels={n: label for n, label in (labels or {}).items() if n in store.providers},
        learning_curve=curve,
    )


def _prepare(store: SimilarityStore) -> None:
    """Check the tables, and make what the audits need whatever the scores are; it is kept."""
    dataset = store.dataset
    load_for(dataset.n_queries * dataset.n_gallery * len(store.providers))
    Truth.of(dataset)
    store.verify_tables()


def _in_sample(store: SimilarityStore, names: Sequence[str]) -> list[str]:
    lines = []
    for name in names:
        seen = store.dataset.query_ids.place.keys() & set(
            store.passport(name).get("fitted_query_ids", ())
        )
        if seen:
            lines.append(
                f"{name}: in sample: a fusion that was fitted on {len(seen)} of the "
                f"{store.dataset.n_queries} queries; its numbers here flatter it"
            )
    return lines


def _damage(store: SimilarityStore, name: str) -> list[str]:
    """Return a line for each damaged part of a provider, or one where it cannot be read at all."""
    try:
        return store.verify(name)
    except StoreError as error:
        return [str(error)]
