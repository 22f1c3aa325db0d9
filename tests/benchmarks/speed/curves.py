"""How cost grows with candidates and with queries, drawn: beside what one would write first.

    python -m tests.benchmarks.speed.curves FOLDER [--svg docs/explanation/scaling.svg]

Synthetic stores are written into FOLDER, once. CPU milliseconds a query, one thread, medians of
turns; a cost that grows as the number of candidates does is a line of the yardstick's slope.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.ground.threads import one_blas_thread, one_torch_thread
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore
from tests.benchmarks.speed import obvious
from tests.benchmarks.speed.synthetic import write
from tests.benchmarks.speed.turns import alternate

GALLERIES = (5_000, 10_000, 20_000, 40_000, 80_000)
BANKS = (5_000, 10_000, 20_000, 40_000, 80_000)
N_QUERIES, N_GALLERY, TILE = 260, 500, 32
N_DIRECTIONS = 32
"""What takes most of a bank's time, alone: how much slower memory is than the cache."""
FAMILIES = ("rows", "restandardized", "ranks", "reverse", "topics")
SETTINGS: dict[str, int] = {"n_hard": 30, "n_uniform": 64, "seed": 0}
Curves = dict[str, list[tuple[int, float]]]


def opened(folder: Path, n_queries: int, n_gallery: int) -> SimilarityStack:
    """Return the stack of a store of this size, written where it is not there."""
    path = folder / f"{n_queries}x{n_gallery}"
    if not (path / "synthetic-3" / "passport.json").exists():
        write(path, n_queries=n_queries, n_gallery=n_gallery, neighbours=False)
    return SimilarityStore.open(path).stack(verify=False)


def by_gallery(folder: Path, n_repeat: int) -> Curves:
    """Measure lists and training examples as the gallery grows."""
    curves: Curves = {}
    for n_gallery in GALLERIES:
        stack = opened(folder, N_QUERIES, n_gallery)
        few = stack.take_queries(stack.query_ids[:TILE])
        rest = stack.take_queries(stack.query_ids[TILE:])
        score = LightFusion(n_epochs=1, n_seeds=1).fit(rest).best_scorer(few.gallery, 50)
        network = obvious.ObviousNetwork(stack.n_providers)
        matrices = list(stack.matrices)
        rows = few.tile(0, TILE).swapaxes(0, 1)  # (K, B, N)
        directions = np.ones((stack.n_providers, n_gallery, N_DIRECTIONS), np.float32)
        turns = {
            "fusing, as one would write it": lambda m=matrices, n=network: obvious.fuse(
                m, np.arange(TILE), n
            ),
            "the best 50, two stages": lambda s=score, f=few: [s(t) for _, t in f.tiles()],
            "bank and examples for training": lambda f=few: make_examples(f, FAMILIES, **SETTINGS),
            "a product with 32 directions": lambda r=rows, d=directions: r @ d,
        }
        for name, seconds in alternate(turns, n_repeat).items():
            value = 1e3 * seconds / TILE
            curves.setdefault(name, []).append((n_gallery, value))
            print(f"{n_gallery:7} candidates  {name:32}{value:9.3f} ms a query", flush=True)
    return curves


def by_queries(folder: Path) -> Curves:
    """Measure the bank and the examples of training as the queries grow; once each."""
    curves: Curves = {}
    for n_queries in BANKS:
        stack = opened(folder, n_queries, N_GALLERY)
        started = time.process_time()
        QueryBank.of(stack)
        made = time.process_time()
        make_examples(stack, FAMILIES, **SETTINGS)
        for name, seconds in (
            ("a bank", made - started),
            ("bank and examples for training", time.process_time() - made),
        ):
            value = 1e3 * seconds / n_queries
            curves.setdefault(name, []).append((n_queries, value))
            print(f"{n_queries:7} queries     {name:32}{value:9.3f} ms a query", flush=True)
    return curves


def draw(path: Path, galleries: Curves, queries: Curves) -> None:
    """Draw both, on logarithmic axes."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "scaling", "svg.fonttype": "none", "font.size": 8})
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    titles = ("candidates in the gallery", f"queries, of {N_GALLERY} candidates")
    for axis, curves, title in zip(axes, (galleries, queries), titles, strict=True):
        for name, points in curves.items():
            axis.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=name)
        axis.set_xlabel(title)
        axis.set_ylabel("ms a query")
        axis.set_ylim(bottom=1e-2)
        axis.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    with one_blas_thread(), one_torch_thread():
        galleries = by_gallery(arguments.folder, arguments.repeat)
        queries = by_queries(arguments.folder)
    if arguments.svg:
        draw(arguments.svg, galleries, queries)


if __name__ == "__main__":
    main()
