"""Measured values by data set and setting: one small file a data set, kept in the repository."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from settings import Setting, settings

from dafm_core.evaluation.crossfit import fit_and_evaluate
from dafm_core.evaluation.design import Folds, Part
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
        and ``values.KEY`` (n_queries, n_metrics) and ``seconds.KEY`` for every setting.
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

    def values(self, setting: Setting) -> NDArray[np.float64] | None:
        """Return a setting's values (n_queries, n_metrics) in [0, 1], or None."""
        found = self.arrays.get(f"values.{setting.key}")
        return None if found is None else found.astype(np.float64)

    def seconds(self, setting: Setting) -> float:
        """Return processor seconds to fit on and rank one fold."""
        return float(self.arrays[f"seconds.{setting.key}"])

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
        """Measure and store every setting that is not stored yet."""
        groups = np.unique(stack.dataset.groups, return_inverse=True)[1]
        self.arrays["groups"] = groups.astype(np.int16)
        self.arrays["providers"] = np.array(stack.names)
        self.arrays["n_folds"] = np.array(n_folds)
        for setting in settings(stack.names):
            known = f"values.{setting.key}" in self.arrays
            if known or (setting.foreign_bank and bank is None):
                continue
            if (only and only != setting.section) or self._reuse(setting):
                continue
            start = time.process_time()
            values = _measure(setting, stack, n_folds, bank)
            seconds = (time.process_time() - start) / n_folds / setting.repeats
            self.arrays[f"values.{setting.key}"] = values.astype(np.float32)
            self.arrays[f"seconds.{setting.key}"] = np.array(round(seconds, 1))
            self._write()
            means = " ".join(f"{100 * v:6.2f}" for v in values.mean(axis=0))
            label = f"{setting.section}: {setting.name}"
            print(f"{self.name:8}{label:72} {means} {seconds:6.1f} s", flush=True)

    def _reuse(self, setting: Setting) -> bool:
        """Take over what another section has measured of the same configuration."""
        for _, members in self.sections():
            for other in members:
                same = replace(other, section=setting.section, name=setting.name) == setting
                if same and f"values.{other.key}" in self.arrays:
                    for kind in ("values", "seconds"):
                        self.arrays[f"{kind}.{setting.key}"] = self.arrays[f"{kind}.{other.key}"]
                    self._write()
                    return True
        return False

    def _write(self) -> None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **self.arrays)
        part = self.path.with_suffix(".part")
        part.write_bytes(buffer.getvalue())
        part.replace(self.path)


def _measure(
    setting: Setting, stack: SimilarityStack, n_folds: int, bank: SimilarityStack | None
) -> NDArray[np.float64]:
    """Return a setting's values, (n_queries, n_metrics), averaged over its cross-fittings."""
    fuser = setting.make(**setting.options)
    train, test = setting.train(stack), setting.test(stack)
    evaluations = [
        fit_and_evaluate(
            fuser,
            test,
            [
                _part(fold, train, test, setting.n_train)
                for fold in Folds(n_folds, seed).parts(stack)
            ],
            metrics=METRICS,
            bank=bank if setting.foreign_bank else None,
        )[0]
        for seed in range(setting.repeats)
    ]
    mean: NDArray[np.float64] = np.mean([e.per_query for e in evaluations], axis=0)
    return mean


def _part(fold: Part, train: SimilarityStack, test: SimilarityStack, n_train: int | None) -> Part:
    """Return a fold of the changed stacks, with whole groups of about so many training queries."""
    assert fold.train is not None  # folds are fitted
    fit = train.take_queries(fold.train.query_ids)
    if n_train is not None and n_train < fit.n_queries:
        fit = fit.split(test_size=n_train / fit.n_queries, seed=0)[1]
    return Part(fit, test.take_queries(fold.test.query_ids))
