"""What a useless model costs a fusion: a CLIP with random weights beside the four toy providers.

    python -m tests.benchmarks.useless_row --families 432

Its text and its image are scored as two rows of ``scenes``. Prints, for each fuser and metric, the
value without them and with them, and the paired difference with its 95 % interval, groups resampled
whole; every query is held out. Needs dafm-plugin-clip, and no download.
"""

from __future__ import annotations

import argparse
import re
import runpy
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dafm_core.catalog import PluginCatalog
from dafm_core.evaluation.evaluate import evaluate_providers
from dafm_core.scoring.score import score, score_provider
from dafm_core.store.store import SimilarityStore
from tests.benchmarks.verifier import PROVIDERS, print_gains

TINY_CLIP = Path(__file__).parents[2] / "plugins" / "dafm-plugin-clip" / "tests" / "conformance.py"
FUSERS = ("mean", "voting-rrf", "weighted", "debiased", "logistic", "light")


def prepare(folder: Path, *, families: int) -> SimilarityStore:
    """Return a store of the four providers and of both rows of a random CLIP."""
    catalog = PluginCatalog.discover()
    dataset = catalog.load_dataset("scenes", options={"families": str(families)})
    score(dataset, PROVIDERS, store=folder / "store", catalog=catalog)
    tiny = runpy.run_path(str(TINY_CLIP))["tiny"]
    words = {word for query in dataset.iter_queries() for word in re.findall(r"\w+|\W", query.text)}
    model = str(tiny("clip", folder / "model", words=words, context=77))
    for compose in ("text", "image"):
        row = catalog.load_provider("clip", {"model": model, "compose": compose})
        score_provider(dataset, f"random-{compose}", row, store=folder / "store")
    return SimilarityStore.open(folder / "store")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", type=int, default=432, help="scene families (432)")
    parser.add_argument("--fusers", default=",".join(FUSERS))
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        stack = prepare(Path(temporary), families=args.families).stack()
        print(f"{stack.protocol}: {stack.n_queries} queries x {stack.n_gallery} images")
        for name, alone in evaluate_providers(stack).items():
            print(f"{name:<16}recall@1 {100 * alone.values['recall@1']:.2f}")
        print_gains(stack, args.fusers.split(","))


if __name__ == "__main__":
    main()
