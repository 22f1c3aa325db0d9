"""``dafm demo``: the whole pipeline on the embedded dataset, ending in a page to look at."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.fusion.base import Fuser

EXAMPLES = {"demo": "example:\n  dafm demo --out out/demo"}

PROVIDERS = ("scenes-color", "scenes-layout", "scenes-shape", "scenes-words")

N_CASES = 100
N_ASKED = 150
"""Queries the fusion is asked about to show what it learned."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder."""
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="folder for everything (out/demo)"
    )


def run(args: argparse.Namespace) -> None:
    """Score, inspect, fit on half of the groups, compare on the other half, report."""
    from dafm_core.cases.collecting import collect_cases
    from dafm_core.cases.explain import learned
    from dafm_core.catalog import PluginCatalog
    from dafm_core.comparison.compare import compare
    from dafm_core.comparison.incremental import incremental
    from dafm_core.comparison.inspection import inspect_store, read_costs
    from dafm_core.core_plugin import FUSERS
    from dafm_core.evaluation.design import Train
    from dafm_core.fusion.saving import save_fuser
    from dafm_core.reporting.exports import write_json
    from dafm_core.reporting.html import write_report
    from dafm_core.reporting.saying import say
    from dafm_core.reporting.summaries import print_comparison, print_inspection
    from dafm_core.reporting.terminal import progress_bars
    from dafm_core.scoring.score import score
    from dafm_core.store.store import SimilarityStore

    started = time.perf_counter()
    catalog = PluginCatalog.discover()
    with progress_bars() as progress:
        dataset = catalog.load_dataset("scenes")
        stack = score(
            dataset, PROVIDERS, store=args.out / "store", catalog=catalog, progress=progress
        )
    store = SimilarityStore.open(args.out / "store")
    print_inspection(inspect_store(store))

    fit, held_out = stack.split(test_size=0.5, seed=0)
    with progress_bars() as progress:
        fusers = {}
        # the 224 steps of the paper's network take minutes
        quick = [info for info in FUSERS if info.name != "light-paper"]
        for done, info in enumerate(quick, start=1):
            fusers[info.name] = catalog.load_fuser(info.name).fit(fit)
            progress("fit", done, len(quick))
        comparison = compare(held_out, fusers, progress=progress)
        rule = catalog.load_fuser("weighted")
        subsets = incremental(held_out, rule, name="weighted", design=Train(fit), progress=progress)
    comparison = replace(comparison, provenance=comparison.provenance.typed(args.typed))
    costs, stores = read_costs(args.out / "store"), [str(args.out / "store")]
    print_comparison(comparison, costs=costs, stores=stores)

    light = fusers["light"]
    save_fuser(light, args.out / "light")
    build_demo_index(args.out / "index", dataset, stack.names, light)
    write_json(args.out / "comparison.json", comparison.to_json())
    cases = collect_cases(held_out, {"light": light}, reasons=False)
    cases = cases.find("light", limit=N_CASES)
    page = write_report(
        args.out / "report.html",
        "DAFM on scenes",
        comparison=comparison,
        learned=learned("light", light, held_out.take_queries(held_out.query_ids[:N_ASKED])),
        result=subsets,
        costs=costs,
        stores=stores,
        cases=cases.with_reasons(held_out, {"light": light}),
        images=dataset.images,
    )
    say()
    say(f"{time.perf_counter() - started:.0f} s in all. Look at {page}")
    say(
        "Ask queries of your own: make serve, or "
        f"dafm serve {args.out / 'index'} --model {args.out / 'light'}"
    )


def build_demo_index(path: Path, dataset: Dataset, names: Sequence[str], fuser: Fuser) -> None:
    """Index the gallery again, so that the demo can be searched; the features are cached."""
    from dafm_core.search.building import build_index
    from dafm_core.search.manifest import MANIFEST

    if (path / MANIFEST).exists():
        shutil.rmtree(path)  # of an earlier demo; everything in it can be made again
    build_index(path, dataset, names, fuser=fuser)
