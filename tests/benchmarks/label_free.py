"""What fusing without labels reaches: `debiased` beside published corrections of hubs.

    python -m tests.benchmarks.label_free STORE [--bank FOREIGN] [--partitions 3]

Every query is ranked with a bank of the training folds, and with ``--bank`` once more with one of
other queries against the same images. A correction's row is its best setting, chosen on the very
queries and metrics that are shown, which flatters it. Differences are paired and resample groups.
Not collected by pytest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Scores
from dafm_core.fusion.channels.agreement import agreement
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.families import DEFAULT_INPUTS, SHARED, parse_families
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.shared import of_head
from dafm_core.fusion.channels.view import ChannelReader, TileView, usable_families
from dafm_core.fusion.debiased import DebiasedFusion
from dafm_core.ground.normalize import zscore_rows
from dafm_core.ground.statistics import Resampler
from dafm_core.metrics.families import HEADS, Head
from dafm_core.metrics.spec import metric_label, parse_metrics
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore
from tests.benchmarks import corrections

RECALLS: Final = ("recall@1", "recall@5", "recall@10", "recall@50")
METRICS: Final = (*RECALLS, "rsubset@1", "rmean")
"""The last two where queries have subsets."""
TILE: Final = 64
"""Queries at a time: their channels stay small."""

ByHead: TypeAlias = Mapping[Head, Scores]
"""Scores of some queries, (B, N), that rank the gallery, and the subset where that is another."""
Rule: TypeAlias = Callable[["Bank"], Callable[[TileView], ByHead]]
"""From a bank, once, to what scores a tile."""
Values: TypeAlias = NDArray[np.float64]
"""Metrics of each query, (Q, M), in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Bank:
    """Queries without labels, and what reads a gallery with them."""

    stack: SimilarityStack

    @cached_property
    def reader(self) -> ChannelReader:
        """Makes every channel of a tile."""
        inputs = parse_families(DEFAULT_INPUTS, where="label_free")
        layout = Layout(usable_families(self.stack.gallery, inputs), self.stack.names)
        return ChannelReader.of(self.stack.gallery, layout, QueryBank.of(self.stack))

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """Row-standardised scores, (B, K, N)."""
        return np.concatenate([zscore_rows(tile) for _, tile in self.stack.tiles()])


def alike(bank: Bank) -> NDArray[np.float64]:
    """Return that every provider counts once."""
    return np.ones(bank.stack.n_providers)


def insiders(bank: Bank) -> NDArray[np.float64]:
    """Return 1 for providers that ``debiased`` fuses, 0 for those that agree with no other."""
    left_out = DebiasedFusion().fit(bank.stack).outsiders_
    return np.array([name not in left_out for name in bank.stack.names], float)


def relative_agreement(bank: Bank) -> NDArray[np.float64]:
    """Return how far each provider likes what the others like, (K,), at least 0 and with mean 1."""
    likes: NDArray[np.float64] = np.maximum(agreement(bank.scores).mean(axis=0), 0)
    return likes / likes.mean() if likes.any() else np.ones(len(likes))


@dataclass(frozen=True)
class Shared:
    """One weight per channel family, and one per provider.

    Parameters
    ----------
    weights : mapping of head to mapping of family to float
    counts : callable
        From a bank to what each provider counts, (K,).
    """

    weights: Mapping[Head, Mapping[str, float]]
    counts: Callable[[Bank], NDArray[np.float64]] = alike

    @classmethod
    def debiased(cls, counts: Callable[[Bank], NDArray[np.float64]] = alike) -> Shared:
        """Return the weights of ``debiased``, of both heads."""
        return cls({head: of_head(SHARED, head) for head in HEADS}, counts)

    def __call__(self, bank: Bank) -> Callable[[TileView], ByHead]:
        """Return what scores a tile."""
        layout = bank.reader.layout
        n_families, n_providers = len(layout.families), len(layout.providers)
        counts = self.counts(bank)
        rows = {
            head: np.outer([of.get(name, 0.0) for name in layout.families], counts).ravel()
            for head, of in self.weights.items()
        }
        assert all(len(row) == n_families * n_providers for row in rows.values())
        weights = {head: row.astype(np.float32) for head, row in rows.items()}
        return lambda view: {head: row @ view.channels() for head, row in weights.items()}


@dataclass(frozen=True)
class Corrected:
    """Mean over providers of rows less an offset, standardised again.

    Parameters
    ----------
    offsets : callable
        From a bank's scores (B, K, N) to what is taken off, (K, N).
    dynamic : bool
        Whether only queries whose first candidate is one that the bank asks for are corrected.
    """

    offsets: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    dynamic: bool = False

    def __call__(self, bank: Bank) -> Callable[[TileView], ByHead]:
        """Return what scores a tile."""
        offsets = self.offsets(bank.scores)
        asked = corrections.asked_for_first(bank.scores) if self.dynamic else None

        def score(view: TileView) -> ByHead:
            rows = view.rows
            corrected = rows - offsets
            if asked is not None:
                providers = np.arange(rows.shape[1])
                hubs = asked[providers, rows.argmax(axis=2)]  # (B, K)
                corrected = np.where(hubs[:, :, None], corrected, rows)
            return {"gallery": zscore_rows(corrected).mean(axis=1)}

        return score


def plain_mean(bank: Bank) -> Callable[[TileView], ByHead]:
    """Return the mean of standardised rows, which knows no bank."""
    return lambda view: {"gallery": view.rows.mean(axis=1)}


def published() -> dict[str, dict[str, Rule]]:
    """Return every published correction with its settings."""
    sharpnesses = (0.5, 1.0, 2.0, 4.0)

    def soft(sharpness: float) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        return lambda bank: corrections.inverted_softmax(bank, sharpness=sharpness)

    def near(k: int, share: float) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        return lambda bank: corrections.nearest(bank, k=k, share=share)

    def balanced(sharpness: float) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        return lambda bank: corrections.sinkhorn(bank, sharpness=sharpness)

    return {
        "CSLS": {"k 10": Corrected(near(10, 0.5))},
        "inverted softmax": {f"sharpness {s:g}": Corrected(soft(s)) for s in sharpnesses},
        "NNN": {
            f"k {k}, share {share:g}": Corrected(near(k, share))
            for k in (16, 128)
            for share in (0.25, 0.5, 0.75, 1.0)
        },
        "QB-Norm, dynamic": {
            f"sharpness {s:g}": Corrected(soft(s), dynamic=True) for s in sharpnesses
        },
        "dual-bank Sinkhorn": {f"sharpness {s:g}": Corrected(balanced(s)) for s in sharpnesses[:3]},
    }


def metrics_of(stack: SimilarityStack) -> tuple[str, ...]:
    """Return the metrics of these queries."""
    return METRICS if stack.dataset.has_subsets else RECALLS


def measure(
    stack: SimilarityStack,
    rules: Mapping[str, Rule],
    *,
    foreign: SimilarityStack | None = None,
    partitions: Sequence[int] = (0, 1, 2),
    n_folds: int = 5,
) -> dict[str, Values]:
    """Return each rule's metrics of every query, averaged over partitions into folds.

    Parameters
    ----------
    foreign : SimilarityStack, optional
        Makes the bank of all folds; by default each fold's is of its training queries.
    """
    metrics = parse_metrics(metrics_of(stack))
    found = {name: np.zeros((stack.n_queries, len(metrics))) for name in rules}
    whole = None if foreign is None else Bank(foreign)
    ready = {} if whole is None else {name: rule(whole) for name, rule in rules.items()}
    for partition in partitions:
        for train, test in stack.folds(n_folds, seed=partition):
            bank = whole or Bank(train)
            scorers = ready or {name: rule(bank) for name, rule in rules.items()}
            places = stack.query_ids.positions(test.query_ids)
            for rows, tile in test.tiles(TILE):
                view, truth = bank.reader.read(tile), test.truth.part(rows)
                for name, score in scorers.items():
                    by_head = score(view)
                    found[name][places[rows]] += truth.measure(
                        by_head["gallery"], metrics, subset_scores=by_head.get("subset")
                    )
    return {name: values / len(partitions) for name, values in found.items()}


def table(values: Mapping[str, Values], groups: NDArray[np.generic]) -> Iterator[str]:
    """Yield a row for each rule: means, and the paired difference of the metrics' mean from the
    first.
    """
    first, *_ = values.values()
    metrics = METRICS[: first.shape[1]]
    yield f"| | {' | '.join(map(metric_label, metrics))} | mean of metrics minus the first's |"
    yield "|---" + "|---:" * len(metrics) + "|---|"
    others = [100 * (mine - first).mean(axis=1) for mine in values.values()]
    low, high, _ = Resampler(groups).summary(np.stack(others, axis=1))
    for row, (name, mine) in enumerate(values.items()):
        shown = " | ".join(f"{100 * value:.2f}" for value in mine.mean(axis=0))
        away = f"{others[row].mean():+.2f} [{low[row]:+.2f}, {high[row]:+.2f}]" if row else ""
        yield f"| {name} | {shown} | {away} |"


def compared(
    stack: SimilarityStack, foreign: SimilarityStack | None, partitions: Sequence[int]
) -> dict[str, Values]:
    """Return the rows of the table: `debiased`, the plain mean, and every correction at its best.

    The mean of metrics decides which setting is best.
    """
    named = published()
    rules: dict[str, Rule] = {"debiased": Shared.debiased(), "plain mean of z-scores": plain_mean}
    rules |= {f"{name} ({how})": rule for name, by in named.items() for how, rule in by.items()}
    found = measure(stack, rules, foreign=foreign, partitions=partitions)
    kept = {name: found[name] for name in ("debiased", "plain mean of z-scores")}
    for name, by_setting in named.items():
        labels = [f"{name} ({how})" for how in by_setting]
        best = max(labels, key=lambda label: found[label].mean())
        kept[best] = found[best]
    return kept


def main() -> None:
    """Measure and print a table for each bank."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--bank", type=Path, help="a store of other queries, same gallery")
    parser.add_argument("--partitions", type=int, default=3)
    arguments = parser.parse_args()
    stack = SimilarityStore.open(arguments.store).stack()
    banks: dict[str, SimilarityStack | None] = {"of the training folds": None}
    if arguments.bank:
        banks["of foreign queries"] = SimilarityStore.open(arguments.bank).stack()
    for name, foreign in banks.items():
        values = compared(stack, foreign, range(arguments.partitions))
        print(f"\n{stack.protocol}, {arguments.partitions} partitions, a bank {name}\n")
        print("\n".join(table(values, stack.dataset.groups)), flush=True)


if __name__ == "__main__":
    main()
