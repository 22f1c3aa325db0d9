"""How fast things are, beside what one would write first; every number a ratio of one run.

    python tests/benchmarks/speed/synthetic.py STORE --queries 5000 --gallery 5000
    python tests/benchmarks/speed STORE [--repeat 5] [--only rules]

Product and yardstick take turns, one thread each (``--threads`` changes that for both); medians of
``--repeat`` turns. The yardstick is ``obvious.py``, in float32, in batches of 64 queries. Not
collected by pytest.
"""

from __future__ import annotations

import argparse
import os
import sys

if "--threads" not in sys.argv:
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import obvious
import torch
from turns import alternate

from dafm_core.fusion.channels import banked
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.light import compiled as compiled_module
from dafm_core.fusion.light import exact
from dafm_core.fusion.light.compiled_loss import CompiledLoss
from dafm_core.fusion.light.ensemble import ProviderDropout
from dafm_core.fusion.light.exact import ExactExamples, step_loss
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.fusion.light.network import PaperNetwork, ResidualFusion
from dafm_core.fusion.light.options import LossWeights
from dafm_core.fusion.light.residual_loops import residual_loops
from dafm_core.fusion.light.training import Batch, StepLoss, TorchLoss
from dafm_core.fusion.static import MeanFusion, VotingFusion
from dafm_core.metrics.ranking import rank_targets
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore
from dafm_core.store.writer import count_tied

T = TypeVar("T")
TILE = 64
"""Queries a turn."""
FAMILIES = ("rows", "restandardized", "ranks", "reverse", "topics", "neighbours")


def show(what: str, found: dict[str, float], yardstick: str) -> None:
    """Print milliseconds a query, and each as a ratio to the yardstick."""
    for name, seconds in found.items():
        ratio = found[yardstick] / seconds if seconds else float("nan")
        print(f"{what:10}{name:26}{1e3 * seconds / TILE:10.3f} ms a query {ratio:8.1f} x")


def paper_step(stack: SimilarityStack, n_repeat: int) -> None:
    """Measure one step of the paper's network over all candidates."""
    targets = stack.dataset.targets.values
    network = PaperNetwork(stack.n_providers, generator=torch.Generator().manual_seed(0))
    examples = ExactExamples(stack.take_queries(stack.query_ids[:TILE]), stack.dataset.targets)
    examples = ExactExamples(examples.stack, examples.stack.dataset.targets)
    batch, tau = np.arange(TILE), torch.tensor(obvious.TEMPERATURE)
    plain = obvious.steps(list(stack.matrices), targets, n_epochs=10**6)

    def in_blocks() -> None:
        kernel, exact.compiled = exact.compiled, lambda: None
        try:
            step_loss(network, examples, batch, tau)
        finally:
            exact.compiled = kernel

    turns: dict[str, Callable[[], Any]] = {"obvious": lambda: next(plain), "in blocks": in_blocks}
    if compiled_module.compiled() is not None:
        turns["compiled"] = lambda: step_loss(network, examples, batch, tau)
    show("paper step", alternate(turns, n_repeat), "obvious")


def sampled(stack: SimilarityStack, n_repeat: int) -> None:
    """Measure bank and examples of sampled training against a step of the obvious one."""
    few = stack.take_queries(stack.query_ids[:TILE])
    plain = obvious.steps(list(stack.matrices), stack.dataset.targets.values, n_epochs=10**6)
    settings = {"n_hard": 30, "n_uniform": 64, "seed": 0}
    turns: dict[str, Callable[[], Any]] = {
        "obvious, one epoch": lambda: next(plain),
        "bank": lambda: QueryBank.of(few),
        "bank and examples": lambda: make_examples(few, FAMILIES, **settings),
    }
    show("sampled", alternate(turns, n_repeat), "obvious, one epoch")


def residual_step(stack: SimilarityStack, n_repeat: int) -> None:
    """Measure a training step of LightFusion's network by machine code against torch's."""
    few = stack.take_queries(stack.query_ids[: 4 * TILE])
    examples = make_examples(few, FAMILIES, n_hard=30, n_uniform=64, seed=0)
    layout, generator = examples.layout, torch.Generator().manual_seed(0)
    n_models, weights = len(layout.providers), LossWeights(1.0, 0.0)
    linear = torch.zeros(1 + n_models, layout.n_channels)
    dropping = ProviderDropout(linear, n_models, 0.1)
    n_context = examples.context.shape[1]
    network = ResidualFusion(layout.n_channels, n_context, 32, generator=generator)
    losses = {"torch": TorchLoss(network, Batch.of(examples), weights, dropping)}
    if (loops := residual_loops()) is not None:
        by_loop = CompiledLoss(examples, weights, linear.numpy(), dropping.draw, loops)
        losses["compiled"] = by_loop.of(network)
    rows, tau = torch.arange(TILE), torch.tensor(1.0)

    def step(loss_of: StepLoss) -> None:
        loss_of(rows, generator, tau)

    print(f"{TILE} examples of {examples.channels.shape[2]} candidates a step")
    turns = {name: lambda loss_of=loss_of: step(loss_of) for name, loss_of in losses.items()}
    show("training", alternate(turns, 4 * n_repeat), "torch")


def fuse(stack: SimilarityStack, n_repeat: int) -> None:
    """Measure fusing with the best 50 of each query."""
    light = LightFusion(n_epochs=2).fit(stack.take_queries(stack.query_ids[TILE:][:600]))
    few = stack.take_queries(stack.query_ids[:TILE])
    tiles = few.tiles
    forms = {
        "light, two stages": light.best_scorer(few.gallery, 50),
        "the same without Numba": without_numba(lambda: light.best_scorer(few.gallery, 50)),
        "light, exact": light.best_scorer(few.gallery, 50, exact=True),
    }
    network, rows = obvious.ObviousNetwork(stack.n_providers), np.arange(TILE)
    turns: dict[str, Callable[[], Any]] = {
        "obvious": lambda: obvious.fuse(list(stack.matrices), rows, network)
    }
    turns |= {
        name: lambda score=score: [score(tile) for _, tile in tiles()]
        for name, score in forms.items()
    }
    show("fuse", alternate(turns, n_repeat), "obvious")
    one = few.tile(0, 1)
    found = alternate({name: lambda s=score: s(one) for name, score in forms.items()}, 5 * n_repeat)
    for name, seconds in found.items():
        print(f"{'one query':10}{name:26}{1e3 * seconds:10.3f} ms, rows given, warm")


def without_numba(make: Callable[[], T]) -> T:
    """Return what is made where Numba is missing."""
    loops, banked.row_loops = banked.row_loops, lambda: None
    try:
        return make()
    finally:
        banked.row_loops = loops


def lost(stack: SimilarityStack, n_repeat: int) -> None:
    """Print what two stages lose on a fifth of the queries, after training on the others."""
    fit, test = stack.split(test_size=0.2, seed=0)
    light, targets = LightFusion().fit(fit), test.dataset.targets
    for k in (10, 50, 100):
        exact, found = (light.best(test, k, exact=whole).columns for whole in (True, False))
        pairs = list(zip(exact, found, strict=True))
        shares = [len(np.intersect1d(one, other)) / k for one, other in pairs]
        recalls = [
            np.mean([np.isin(targets[i], row).any() for i, row in enumerate(lists)])
            for lists in (exact, found)
        ]
        print(
            f"{'lost':10}of the exact first {k:<7}{100 * np.mean(shares):10.3f} % found, of the "
            f"worst query {100 * min(shares):.0f} %; recall {100 * recalls[0]:.2f} exact, "
            f"{100 * recalls[1]:.2f}"
        )


def rules(stack: SimilarityStack, n_repeat: int) -> None:
    """Measure static rules against their definition by argsort."""
    tile = stack.tile(0, TILE)

    def by_argsort() -> None:
        for row in tile:
            ranks = np.argsort(np.argsort(-row, axis=1), axis=1)
            (1 / (61.0 + ranks)).sum(axis=0)

    def z_scores() -> None:
        for row in tile:
            kept = np.where(np.isfinite(row), row, np.nan)
            mean, std = np.nanmean(kept, 1, keepdims=True), np.nanstd(kept, 1, keepdims=True)
            ((row - mean) / std).mean(axis=0)

    scorers = {
        "mean": MeanFusion(normalize="zscore").scorer(stack),
        "rrf": VotingFusion("rrf").scorer(stack),
        "borda": VotingFusion("borda").scorer(stack),
    }
    turns: dict[str, Callable[[], Any]] = {"ranks by argsort": by_argsort, "z-scores": z_scores}
    turns |= {name: lambda score=score: score(tile) for name, score in scorers.items()}
    found = alternate(turns, n_repeat)
    show("rules", {k: found[k] for k in ("z-scores", "mean")}, "z-scores")
    show("rules", {k: found[k] for k in ("ranks by argsort", "rrf", "borda")}, "ranks by argsort")


def counts(stack: SimilarityStack, n_repeat: int) -> None:
    """Measure what is counted: places of targets, and ties of a block that is written."""
    tile = stack.tile(0, TILE)
    targets = stack.dataset.targets.part(slice(0, TILE))
    block = np.asarray(stack.matrices[0][:TILE])
    turns: dict[str, Callable[[], Any]] = {
        "ranking by argsort": lambda: np.argsort(-tile[:, 0], axis=1),
        "places of targets": lambda: rank_targets(tile[:, 0], targets),
        "ties by sorting floats": lambda: np.sort(block, axis=1),
        "ties": lambda: count_tied(block),
    }
    found = alternate(turns, n_repeat)
    show("counts", {k: found[k] for k in list(turns)[:2]}, "ranking by argsort")
    show("counts", {k: found[k] for k in list(turns)[2:]}, "ties by sorting floats")


MEASURES = {
    "paper": paper_step,
    "sampled": sampled,
    "step": residual_step,
    "fuse": fuse,
    "lost": lost,
    "rules": rules,
    "counts": counts,
}


def main() -> None:
    """Measure what is asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", choices=MEASURES, action="append")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    stack = SimilarityStore.open(arguments.store).stack(verify=False)
    dtypes = sorted({str(matrix.dtype) for matrix in stack.matrices})
    print(
        f"{stack.protocol}: {stack.n_queries} x {stack.n_gallery} x {stack.n_providers}, "
        f"{', '.join(dtypes)}; {TILE} queries a turn, {arguments.threads} thread"
    )
    for name in arguments.only or MEASURES:
        MEASURES[name](stack, arguments.repeat)


if __name__ == "__main__":
    main()
