"""What a verifier's row is worth: fusions of the four toy providers, with and without it.

    python tests/benchmarks/verifier.py --families 72 --depth 50

Prints, for each fuser and metric, the value without the verifier and with it, and the paired
difference with its 95 % interval, groups resampled whole; every query is held out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dafm_core.catalog import PluginCatalog
from dafm_core.evaluation.crossfit import fit_and_evaluate
from dafm_core.evaluation.design import Folds
from dafm_core.fusion.base import Fuser
from dafm_core.ground.statistics import Resampler
from dafm_core.scoring.pairs import score_pairs
from dafm_core.scoring.score import score
from dafm_core.scoring.shortlists import shortlist_of
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore

PROVIDERS = ("scenes-color", "scenes-layout", "scenes-shape", "scenes-words")
VERIFIER = "scenes-verifier"
METRICS = ("recall@1", "recall@5", "recall@10", "rsubset@1")
FUSERS = ("mean", "voting-rrf", "weighted", "margin", "logistic", "light")


@dataclass(frozen=True)
class Gain:
    """One fuser on one metric, in [0, 1]: without and with the added rows, and the difference."""

    fuser: str
    metric: str
    without: float
    with_it: float
    low: float
    high: float


def prepare(folder: Path, *, families: int, depth: int) -> SimilarityStore:
    """Return a store of the four providers, and of the verifier at ``depth`` calls a query."""
    catalog = PluginCatalog.discover()
    dataset = catalog.load_dataset("scenes", options={"families": str(families)})
    score(dataset, PROVIDERS, store=folder, catalog=catalog)
    candidates = shortlist_of(SimilarityStore.open(folder), f"union:{depth}", name=VERIFIER)
    provider = catalog.load_provider(VERIFIER)
    return score_pairs(dataset, VERIFIER, provider, store=folder, candidates=candidates)


def measure(stack: SimilarityStack, name: str, fuser: Fuser) -> list[Gain]:
    """Return what the rows besides the four toy providers add to one fuser, on held-out queries."""
    design = Folds(5, seed=0)
    both = [
        fit_and_evaluate(fuser, part, design.parts(part), metrics=METRICS)[0].per_query
        for part in (stack.select(PROVIDERS), stack)
    ]
    low, high, _ = Resampler(stack.dataset.groups, n_resamples=2000).summary(both[1] - both[0])
    means = np.stack(both).mean(axis=1)
    return [
        Gain(name, metric, *map(float, (means[0, m], means[1, m], low[m], high[m])))
        for m, metric in enumerate(METRICS)
    ]


def print_gains(stack: SimilarityStack, fusers: Sequence[str]) -> None:
    """Measure and print what the added rows are worth to each fuser."""
    print(f"{'fuser':<12}{'metric':<12}{'without':>9}{'with':>9}  difference")
    for name in fusers:
        for gain in measure(stack, name, PluginCatalog.discover().load_fuser(name)):
            change = 100 * (gain.with_it - gain.without)
            print(
                f"{gain.fuser:<12}{gain.metric:<12}{100 * gain.without:>9.2f}"
                f"{100 * gain.with_it:>9.2f}  {change:+.2f} "
                f"[{100 * gain.low:+.2f}, {100 * gain.high:+.2f}]",
                flush=True,
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", type=int, default=72, help="scene families (72)")
    parser.add_argument("--depth", type=int, default=50, help="calls a query (50)")
    parser.add_argument("--fusers", default=",".join(FUSERS))
    parser.add_argument("--store", type=Path, help="kept and resumed; temporary by default")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        store = prepare(args.store or Path(temporary), families=args.families, depth=args.depth)
        stack, cost = store.stack(), store.cost(VERIFIER)
        print(
            f"{stack.protocol}: {stack.n_queries} queries x {stack.n_gallery} images, "
            f"{cost['calls_per_query']:g} calls a query, {cost.get('ms_per_call', 0):.2f} ms each"
        )
        print_gains(stack, args.fusers.split(","))


if __name__ == "__main__":
    main()
