"""Many clients of one service: what they get a second, beside the bare loop over the same queries.

    python tests/benchmarks/search/clients.py INDEX MODEL DATASET [--clients 8] [--seconds 20]

Clients and service share one process and its event loop, without sockets; memory is looked at
before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from itertools import cycle
from pathlib import Path

import dafm_core as dafm
from dafm_core.ground.platform import peak_memory_bytes
from dafm_core.search.requests import Request
from dafm_core.search.search import Search
from dafm_core.serve.batching import MOST, Batcher
from dafm_core.serve.limits import Limits


def bare(search: Search, requests: list[Request], seconds: float) -> float:
    """Return queries a second of batches as large as the service makes them."""
    done, started = 0, time.perf_counter()
    batches = cycle([requests[i : i + MOST] for i in range(0, len(requests) - MOST, MOST)])
    for batch in batches:
        search.batch(batch)
        done += len(batch)
        if time.perf_counter() - started > seconds:
            break
    return done / (time.perf_counter() - started)


async def served(
    search: Search, requests: list[Request], n_clients: int, seconds: float
) -> tuple[float, int]:
    """Return queries a second that clients get who each wait for their answer, and errors."""
    batcher = Batcher(search.batch, Limits())
    done = errors = 0
    started = time.perf_counter()

    async def client(number: int) -> None:
        nonlocal done, errors
        for request in cycle(requests[number::n_clients]):
            try:
                await batcher.ask(request)
                done += 1
            except Exception:
                errors += 1
            if time.perf_counter() - started > seconds:
                return

    await asyncio.gather(*(client(number) for number in range(n_clients)))
    rate = done / (time.perf_counter() - started)
    await asyncio.to_thread(batcher.stop)
    return rate, errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    search = Search(dafm.GalleryIndex.open(args.index), dafm.load_fuser(args.model))
    queries = dafm.load_dataset(args.dataset).iter_queries(0, 500)
    known = [q for q in queries if all(r.id in search.index.ids for r in q.references)]
    requests = [Request(references=[r.id for r in q.references], text=q.text) for q in known]
    search.batch(requests[:MOST])
    before = peak_memory_bytes()
    alone = bare(search, requests, args.seconds / 2)
    rate, errors = asyncio.run(served(search, requests, args.clients, args.seconds))
    again = bare(search, requests, args.seconds / 2)
    loop = (alone + again) / 2
    print(f"{args.clients} clients: {rate:.1f} queries/s, {errors} errors")
    print(f"bare loop: {loop:.1f} queries/s; share {rate / loop:.2f}")
    print(f"peak memory grew by {(peak_memory_bytes() - before) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
