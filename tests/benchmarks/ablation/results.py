"""Measured values by data set and setting: one small file a data set, kept in the repository."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from settings import Setting, settings

from dafm_core.evaluation.design import Folds
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.fusion.base import Fuser
from dafm_core.ground.statistics import Resampler
from dafm_core.store.stack import SimilarityStack

METRICS: Final = ("recall@1", "recall@5", "recall@10", "recall@50", "rsubset@1", "rmean")


@dataclass(eq=False)
class Results:
    """What has been measured on one data set.

    Parameters
    ----------
    path : Path
        A compressed npz: ``groups`` (group numbers of the queries), ``providers``, ``n_folds``,
        and ``values.KEY`` (n_cross_fittings, n_queries, n_metrics) for every setting.
    """

    path: Path
    arrays: dict[str, NDArray[np.generic]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Return what is stored; nothing where there is no file."""
        return cls(path, dict(np.load(path)) if path.exists() else {})

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.path.stem

    @property
    def providers(self) -> tuple[str, ...]:
        """Names of the providers."""
        return tuple(str(name) for name in self.arrays["providers"])

    def cross_fittings(self, setting: Setting) -> NDArray[np.float64] | None:
        """Return a setting's values in [0, 1], (n_cross_fittings, n_queries, n_metrics), or None.

        In files of before there was more than one of them, they are means already.
        """
        found = self.arrays.get(f"values.{setting.key}")
        if found is None:
            return None
        return found.astype(np.float64)[None] if found.ndim == 2 else found.astype(np.float64)

    def values(self, setting: Setting) -> NDArray[np.float64] | None:
        """Return the means over cross-fittings, (n_queries, n_metrics), or None."""
        found = self.cross_fittings(setting)
        return None if found is None else found.mean(axis=0)

    def n_measured(self, setting: Setting) -> int:
        """Return how many of a setting's cross-fittings are stored."""
        found = self.cross_fittings(setting)
        return 0 if found is None else len(found)

    @cached_property
    def resampler(self) -> Resampler:
        """Draws whole groups."""
        return Resampler(self.arrays["groups"])

    def sections(self) -> Iterator[tuple[str, list[Setting]]]:
        """Yield every section with its settings."""
        parted: dict[str, list[Setting]] = {}
        for setting in settings(self.providers):
            parted.setdefault(setting.section, []).append(setting)
        yield from parted.items()

    def measure(
        self,
        stack: SimilarityStack,
        *,
        n_folds: int,
        bank: SimilarityStack | None,
        only: str | None,
    ) -> None:
        """Measure and store every cross-fitting that is not stored yet.

        Settings of a section share what is made of a fold's training queries; each cross-fitting
        has its own deal of the folds, and its own seed of the fusions.
        """
        groups = np.unique(stack.dataset.groups, return_inverse=True)[1]
        self.arrays["groups"] = groups.astype(np.int16)
        self.arrays["providers"] = np.array(stack.names)
        self.arrays["n_folds"] = np.array(n_folds)
        for section, members in self.sections():
            if only and only != section:
                continue
            wanted = [
                s for s in members if not (s.foreign_bank and bank is None) and not self._reuse(s)
            ]
            for seed in range(max((s.repeats for s in wanted), default=0)):
                pending = [s for s in wanted if s.repeats > seed >= self.n_measured(s)]
                self._cross_fit(pending, stack, seed=seed, n_folds=n_folds, bank=bank)

    def _cross_fit(
        self,
        pending: Sequence[Setting],
        stack: SimilarityStack,
        *,
        seed: int,
        n_folds: int,
        bank: SimilarityStack | None,
    ) -> None:
        """Measure settings on one deal of the folds, and store them."""
        shape = (stack.n_queries, len(METRICS))
        values = {setting.key: np.empty(shape, np.float32) for setting in pending}
        changed = {c: c(stack) for s in pending for c in (s.train, s.test)}
        for part in Folds(n_folds, seed).parts(stack) if pending else ():
            assert part.train is not None  # folds are fitted
            held_out = stack.query_ids.positions(part.test.query_ids)
            trains = {
                change: changed[change].take_queries(part.train.query_ids).remembering()
                for change in {setting.train for setting in pending}
            }
            fitted: dict[str, Fuser] = {}
            for setting in pending:
                if setting.fit_key not in fitted:
                    fitted[setting.fit_key] = setting.fuser(seed).fit(
                        trains[setting.train], bank=bank if setting.foreign_bank else None
                    )
                test = changed[setting.test].take_queries(part.test.query_ids)
                found = evaluate(fitted[setting.fit_key], test, metrics=METRICS)
                values[setting.key][held_out] = found.per_query
        for setting in pending:
            self._store(setting, values[setting.key])
            means = " ".join(f"{100 * v:6.2f}" for v in values[setting.key].mean(axis=0))
            label = f"{setting.section}, {seed}: {setting.name}"
            print(f"{self.name:8}{label:72} {means}", flush=True)

    def _store(self, setting: Setting, values: NDArray[np.float32]) -> None:
        """Add the values of one more cross-fitting."""
        name = f"values.{setting.key}"
        before = self.arrays.get(name, np.empty((0, *values.shape), np.float32))
        self.arrays[name] = np.concatenate([before, values[None]])
        self._write()

    def _reuse(self, setting: Setting) -> bool:
        """Take over what another section has measured of the same configuration."""
        if self.n_measured(setting):
            return False
        for _, members in self.sections():
            for other in members:
                same = replace(other, section=setting.section, name=setting.name) == setting
                if same and self.n_measured(other) >= setting.repeats:
                    self.arrays[f"values.{setting.key}"] = self.arrays[f"values.{other.key}"]
                    self._write()
                    return True
        return False

    def _write(self) -> None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **self.arrays)
        part = self.path.with_suffix(".part")
        part.write_bytes(buffer.getvalue())
        part.replace(self.path)
