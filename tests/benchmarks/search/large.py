"""A million images under four models of inner products: how long a live query takes, and the rest.

    python -m tests.benchmarks.search.large FOLDER [--images 1000000] [--engine none]

The gallery is synthetic, with planted targets (``planted.py``). Made once: FOLDER/light,
FOLDER/weighted and FOLDER/large-N, with an engine where one is asked for; at a million images that
takes a quarter of an hour, 5 GB of disk and 8 GB of memory. Then, in one run: opening, single
queries of a LightFusion and of a linear fusion beside the floor (the bytes of the features over the
speed of memory), the share that they have of the exhaustive fused top 50, memory, 1,000 images
added, eight clients beside the bare loop.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from statistics import median

import numpy as np

import dafm_core as dafm
from dafm_core.catalog import PluginCatalog
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.search.building import add_images, build_index
from dafm_core.search.engine_making import build_engine
from dafm_core.search.finding import ByCodes
from dafm_core.search.requests import Request
from dafm_core.search.search import Search
from tests.benchmarks.search.clients import bare, served
from tests.benchmarks.search.latency import N_TRAINED, providers, timed, trained
from tests.benchmarks.search.planted import planted_dataset

K = 50


def prepared(folder: Path, n_images: int, n_bank: int, kind: str) -> Path:
    """Build index and engine where they are not there."""
    path = folder / f"large-{n_images}"
    models = providers()
    if not (path / "index.json").exists():
        bank = planted_dataset(n_images, n_bank, first=10_000)
        started, used = time.perf_counter(), time.process_time()
        build_index(path, planted_dataset(n_images, 1), models, bank=bank, dtype="float16")
        print(f"built in {spent(started, used)}", flush=True)
    if kind != "none" and not (path / "engine.json").exists():
        started, used = time.perf_counter(), time.process_time()
        engines = build_engine(dafm.GalleryIndex.open(path), kind)
        found = {which: round(engine.recall, 3) for which, engine in engines.items()}
        print(f"engine {kind} in {spent(started, used)}: found {found}", flush=True)
    return path


def spent(started: float, used: float) -> str:
    """Return time and CPU time since then, in words."""
    return f"{time.perf_counter() - started:.0f} s ({time.process_time() - used:.0f} s of CPU)"


def linear(folder: Path) -> dafm.Fuser:
    """Return a weighted sum of z-scores, fitted where LightFusion was."""
    if not (folder / "weighted" / "fuser.json").exists():
        stack = dafm.score(planted_dataset(N_TRAINED, 600), providers(), store=folder / "store")
        fuser = PluginCatalog.discover().load_fuser("weighted", {"normalize": "zscore"})
        save_fuser(fuser.fit(stack), folder / "weighted")
    return load_fuser(folder / "weighted")


def own_memory() -> float:
    """Return memory that is no map of a file, MiB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def speed_of_memory() -> float:
    """Return how fast one core reads, GB/s."""
    block = np.ones(1 << 26, np.float32)
    block.sum()
    times = []
    for _ in range(5):
        started = time.perf_counter()
        block.sum()
        times.append(time.perf_counter() - started)
    return block.nbytes / median(times) / 1e9


def quickened(search: Search) -> None:
    """Wait until machine code is loaded beside the queries."""
    finder, _ = search._prepared._finder
    if isinstance(finder, ByCodes):
        finder.later.wait()


def shares(found: list[tuple[str, ...]], expected: list[tuple[str, ...]]) -> float:
    return float(
        np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, expected, strict=True)])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--engine", default="none", help="ivf, scan8, scan16 or none")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--exhaustive", type=int, default=20, help="queries ranked by whole rows")
    parser.add_argument("--nearest", type=int, default=500)
    parser.add_argument("--bank", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60, help="that clients ask for")
    parser.add_argument("--only-build", action="store_true")
    args = parser.parse_args()
    fusers = {"light": trained(args.folder), "linear": linear(args.folder)}
    path = prepared(args.folder, args.images, args.bank, args.engine)
    if args.only_build:
        return
    models = providers()
    asked = planted_dataset(args.images, args.queries, first=50_000)
    requests = [Request(text=text, k=K) for text in asked.queries["text"]]
    targets = asked.queries["targets"].list.first().to_list()
    start_memory = own_memory()
    started = time.perf_counter()
    index = dafm.GalleryIndex.open(path)
    print(f"opened in {time.perf_counter() - started:.2f} s")
    bandwidth = speed_of_memory()
    n_bytes = sum(args.images * entry.width[0] for entry in index.entries.values())
    floor = n_bytes / bandwidth / 1e6
    print(f"memory {bandwidth:.1f} GB/s: one byte of every number read in {floor:.0f} ms")
    for name, fuser in fusers.items():
        search = Search(index, fuser, providers=models, nearest=args.nearest)
        timed(search, requests[:20])
        quickened(search)
        used = time.process_time()
        times, hits = timed(search, requests)
        used = 1000 * (time.process_time() - used) / len(requests)
        p95 = np.percentile(times, 95)
        print(
            f"{name}: median {median(times):.1f} ms, p95 {p95:.1f} ms, {used:.1f} ms of CPU "
            f"({p95 / floor:.2f} of that floor)"
        )
        if name == "light":  # whole rows, asked next, take memory of their own
            print(f"memory beyond maps {own_memory() - start_memory:.0f} MiB")
        right = np.mean([t in h[:10] for t, h in zip(targets, hits, strict=True)])
        print(f"{name}: target among the first 10 in {right:.3f}", flush=True)
        some = requests[: args.exhaustive]
        whole = Search(index, fuser, providers=models, nearest=args.images)
        slow, expected = timed(whole, some)
        print(
            f"{name}: {shares(hits[: len(some)], expected):.4f} of the exhaustive fused top {K}; "
            f"whole rows {median(slow) / 1000:.1f} s a query",
            flush=True,
        )
        del whole
    search = Search(index, fusers["light"], providers=models, nearest=args.nearest)
    alone = bare(search, requests, args.seconds / 4)
    rate, errors = asyncio.run(served(search, requests, 8, args.seconds))
    loop = (alone + bare(search, requests, args.seconds / 4)) / 2
    print(f"8 clients: {rate:.1f} queries/s, {errors} errors; {rate / loop:.2f} of the bare loop")
    first = index.n_images  # a run before this one may have added some
    new_ids = [f"i{i:07d}" for i in range(first, first + 1000)]
    more = planted_dataset(first + 1000, 1).take_gallery(new_ids)
    started = time.perf_counter()
    grown = add_images(path, more, providers=models)
    took = time.perf_counter() - started
    search = Search(grown, fusers["light"], providers=models, nearest=args.nearest)
    new = Request(text=f"find {first + 7}", k=K)
    timed(search, [new])
    seconds, hits = timed(search, [new])
    print(
        f"1,000 added in {took:.1f} s, encoding included; {seconds[0]:.1f} ms a query then, the "
        f"new target {'found' if new_ids[7] in hits[0] else 'not found'}"
    )


if __name__ == "__main__":
    main()
