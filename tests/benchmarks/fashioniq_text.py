"""FashionIQ as a world of text: real requests and targets where no image is at hand.

    python tests/benchmarks/fashioniq_text.py FASHIONIQ FOLDER [--split train] [--category dress]
    dafm compare FOLDER/store --fusers weighted,voting-rrf,debiased,light --folds 5

FASHIONIQ is the folder of the published annotations. Two people wrote a caption of each pair. What
the first wrote describes the image that was meant; what the second wrote is the request. So an
image is known by the words of other people than the one who asks for it. The gallery has every
image that somebody meant; a query is left out where nobody describes its reference, or where its
text is word for word among its target's descriptions. References are excluded.

It writes a folder dataset, and beside it a store with the four providers of dafm-plugin-captions.
Captions compare an image with another, and say little of it: scores are low. Not collected by
pytest.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from dafm_core import load_dataset
from dafm_core.catalog import PluginCatalog
from dafm_core.ground.groups import connected_groups
from dafm_core.scoring.score import score_provider

PROVIDERS: Final = (
    "captions-bm25",
    "captions-tfidf",
    "captions-sentence",
    "captions-sentence-best",
)


class World(NamedTuple):
    """Descriptions by image, and queries as a folder dataset has them, one a row."""

    captions: dict[str, list[str]]
    queries: list[dict[str, Any]]


def make(pairs: list[dict[str, Any]], *, name: str) -> World:
    """Return the world of published pairs; groups are of queries that share an image.

    Parameters
    ----------
    pairs : list of dict
        With ``candidate`` (the reference), ``target`` and two ``captions``.
    name : str
        What ids of queries and groups begin with.
    """
    captions: dict[str, list[str]] = {}
    for pair in pairs:
        if _words(pair["captions"][0]):
            captions.setdefault(pair["target"], []).append(pair["captions"][0])
    said = {image: {_words(text) for text in texts} for image, texts in captions.items()}
    queries = [
        {
            "query_id": f"{name}-{number}",
            "reference": pair["candidate"],
            "text": pair["captions"][1],
            "targets": [pair["target"]],
            "excluded": [pair["candidate"]],
        }
        for number, pair in enumerate(pairs)
        if pair["candidate"] in captions
        and pair["target"] in captions
        and pair["candidate"] != pair["target"]
        and _words(pair["captions"][1])
        and _words(pair["captions"][1]) not in said[pair["target"]]
    ]
    groups = connected_groups([[query["reference"], *query["targets"]] for query in queries])
    for query, group in zip(queries, groups, strict=True):
        query["group"] = f"{name}-{group}"
    return World(captions, queries)


def write(world: World, folder: Path) -> None:
    """Write a folder dataset, and the descriptions beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(query) for query in world.queries)
    (folder / "queries.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "gallery.txt").write_text("\n".join(sorted(world.captions)) + "\n", encoding="utf-8")
    (folder / "captions.json").write_text(json.dumps(world.captions), encoding="utf-8")


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower()))


def main() -> None:
    """Write the dataset and score it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("fashioniq", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="train", choices=("train", "val"))
    parser.add_argument("--category", default="dress", choices=("dress", "shirt", "toptee"))
    parser.add_argument(
        "--swapped", action="store_true", help="the second describes, the first asks"
    )
    arguments = parser.parse_args()
    part = f"{arguments.category}.{arguments.split}"
    pairs = json.loads((arguments.fashioniq / "captions" / f"cap.{part}.json").read_text())
    if arguments.swapped:
        pairs = [{**pair, "captions": pair["captions"][::-1]} for pair in pairs]
    world = make(pairs, name=part.replace(".", "-"))
    write(world, arguments.folder)
    print(
        f"{arguments.folder}: {len(world.queries)} of {len(pairs)} queries, {len(world.captions)} "
        f"images, {len({query['group'] for query in world.queries})} groups"
    )
    dataset, catalog = load_dataset(f"folder:{arguments.folder}"), PluginCatalog.discover()
    for name in PROVIDERS:
        options = {"captions": str(arguments.folder / "captions.json")}
        provider = catalog.load_provider(name, options)
        score_provider(dataset, name, provider, store=arguments.folder / "store")


if __name__ == "__main__":
    main()
