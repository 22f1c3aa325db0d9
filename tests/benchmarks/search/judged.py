"""From no labels to a fusion fitted on judged queries: what each number of them gives, on scenes.

    python tests/benchmarks/search/judged.py FOLDER [--families 432] [--draws 5]

Judging is played by the known targets: queries are drawn, their target is marked as meant in a file
as the page writes it, the file is read as a dataset, scored and fitted on. What is measured are
the other queries, none of whose families was judged.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import dafm_core as dafm
from dafm_core.catalog import PluginCatalog
from dafm_core.search.building import build_index
from dafm_core.search.index import GalleryIndex
from dafm_core.serve.judging import Judgements

PROVIDERS = ("scenes-color", "scenes-layout", "scenes-shape", "scenes-words")
LABELS = (10, 20, 40, 80, 160)
FUSERS = ("best-single", "mean", "debiased", "weighted", "light")


def judged(
    folder: Path, index: GalleryIndex, dataset: dafm.Dataset, query_ids: list[str]
) -> dafm.SimilarityStack:
    """Return the scored judgements of some queries."""
    file = folder / "judged.jsonl"
    file.unlink(missing_ok=True)
    kept = Judgements(file, index)
    for row in dataset.take(query_ids).queries.iter_rows(named=True):
        kept.add(row["references"], row["text"], row["targets"][0], "meant")
    found = dafm.load_dataset(f"judgements:{file}")
    return dafm.score(found, PROVIDERS, store=folder / f"store-{found.queries_sha256[:12]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--families", type=int, default=432)
    parser.add_argument("--draws", type=int, default=5)
    args = parser.parse_args()
    dataset = dafm.load_dataset("scenes", families=str(args.families))
    whole = dafm.score(dataset, PROVIDERS, store=args.folder / "whole")
    path = args.folder / "index"
    index = (
        GalleryIndex.open(path)
        if (path / "index.json").exists()
        else build_index(path, dataset, PROVIDERS)
    )
    asked, held_out = whole.split(test_size=0.5, seed=0)
    catalog = PluginCatalog.discover()
    print(f"recall@1 on {held_out.n_queries} queries of scenes, {args.draws} draws of the labels")
    print("| labels | " + " | ".join(FUSERS) + " |")
    print("|---|" + "---|" * len(FUSERS))
    for n in LABELS:
        found: dict[str, list[float]] = {name: [] for name in FUSERS}
        for draw in range(args.draws):
            rng = np.random.default_rng([draw, n])
            ids = rng.choice(list(asked.query_ids), n, replace=False).tolist()
            stack = judged(args.folder, index, dataset, ids)
            for name in FUSERS:
                fitted = catalog.load_fuser(name).fit(stack)
                measured = dafm.evaluate(fitted, held_out, metrics=("recall@1",))
                found[name].append(100 * float(measured.values["recall@1"]))
        cells = [f"{np.mean(v):.1f} ({np.min(v):.1f}-{np.max(v):.1f})" for v in found.values()]
        print(f"| {n} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
