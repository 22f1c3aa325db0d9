"""How long a live query takes, and how much of the exhaustive fused ranking it finds.

    python -m tests.benchmarks.search.latency FOLDER [--images 20000] [--nearest 500]

LightFusion is trained on a planted gallery of 2,000 images and answers on another one. Made once:
FOLDER/light and FOLDER/index-N.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

import dafm_core as dafm
from dafm_core.contract.items import Query
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.search.building import build_index
from dafm_core.search.prepared import with_bank
from dafm_core.search.quickening import MANY
from dafm_core.search.requests import Request
from dafm_core.search.search import Search
from tests.benchmarks.search.planted import Planted, planted_dataset

N_TRAINED = 2000


class Encoded(Planted):
    """Remembers what it encoded: what that takes is a model's time, and not the search's."""

    def encode_queries(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        """Return the vectors, made once a text."""
        known = self.__dict__.setdefault("known", {})
        new = {query.text: query for query in queries if query.text not in known}
        if new:
            known.update(zip(new, super().encode_queries(list(new.values())), strict=True))
        return np.stack([known[query.text] for query in queries])


def providers() -> dict[str, Planted]:
    made: dict[str, Planted] = {f"planted-{k}": Encoded(k) for k in range(4)}
    for provider in made.values():
        provider.references = "any"  # type: ignore[attr-defined]
    return made


def trained(folder: Path) -> dafm.Fuser:
    if not (folder / "light" / "fuser.json").exists():
        dataset = planted_dataset(N_TRAINED, 600)
        stack = dafm.score(dataset, providers(), store=folder / "store")
        save_fuser(dafm.LightFusion(seed=0).fit(stack), folder / "light")
    return load_fuser(folder / "light")


def opened(folder: Path, n_images: int, n_bank: int) -> dafm.GalleryIndex:
    path = folder / f"index-{n_images}"
    if not (path / "index.json").exists():
        bank = planted_dataset(n_images, n_bank, first=10_000)
        started = time.perf_counter()
        build_index(path, planted_dataset(n_images, 1), providers(), bank=bank)
        print(f"built in {time.perf_counter() - started:.0f} s")
    started = time.perf_counter()
    index = dafm.GalleryIndex.open(path)
    print(f"opened in {time.perf_counter() - started:.2f} s")
    return index


def timed(search: Search, requests: list[Request]) -> tuple[list[float], list[tuple[str, ...]]]:
    times, hits = [], []
    for request in requests:
        started = time.perf_counter()
        hits.append(search.batch([request])[0].image_ids)
        times.append(1000 * (time.perf_counter() - started))
    return times, hits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--nearest", type=int, default=500)
    parser.add_argument("--bank", type=int, default=500)
    args = parser.parse_args()
    fuser = trained(args.folder)
    index = opened(args.folder, args.images, args.bank)
    models = providers()
    window = Search(index, fuser, providers=models, nearest=args.nearest)
    whole = Search(index, fuser, providers=models, nearest=args.images)
    asked = planted_dataset(args.images, args.queries, first=50_000)
    requests = [Request(text=text, k=50) for text in asked.queries["text"]]
    timed(window, requests * (1 + MANY // len(requests)))  # from then on by machine code
    for lists in window._prepared._lists.values():
        if lists is not None:
            lists.later.wait()
    timed(whole, requests[:2])
    used = time.process_time()
    fast, found = timed(window, requests)
    used = 1000 * (time.process_time() - used) / len(requests)
    slow, expected = timed(whole, requests)
    shared = [len(set(a) & set(b)) / len(b) for a, b in zip(found, expected, strict=True)]
    targets = asked.queries["targets"].list.first().to_list()
    right = [t in hits[:10] for t, hits in zip(targets, expected, strict=True)]
    print(f"{args.images} images, 4 models of 256 dimensions, {args.queries} queries, top 50")
    for name, times in (("window", fast), ("whole rows", slow)):
        print(f"{name}: median {median(times):.1f} ms, p95 {np.percentile(times, 95):.1f} ms")
    print(f"window: {used:.1f} ms of CPU a query")
    print(f"shared with whole rows: {np.mean(shared):.4f}; recall@10 {np.mean(right):.3f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    row_latency(fuser, index, models, requests)


def row_latency(
    fuser: dafm.Fuser,
    index: dafm.GalleryIndex,
    models: dict[str, Planted],
    requests: list[Request],
) -> None:
    """One row of each model given, as a team whose models are services has them."""
    score = with_bank(fuser, index).best_scorer(index.gallery, 50)
    query = requests[0].query(index)
    whole = {name: index.features(name).whole() for name in models}
    rows = [models[n].similarity(models[n].encode_queries([query]), whole[n]) for n in models]
    tile = np.stack([row[0] for row in rows])[None]
    score(tile)  # compiles
    times, used = [], time.process_time()
    for _ in range(200):
        started = time.perf_counter()
        score(tile)
        times.append(1000 * (time.perf_counter() - started))
    used = 1000 * (time.process_time() - used) / len(times)
    print(
        f"one row of each given, the best 50: median {median(times):.1f} ms, p95 "
        f"{np.percentile(times, 95):.1f}; {used:.1f} ms of CPU"
    )


if __name__ == "__main__":
    main()
