"""``dafm submit``: the files that the CIRR and CIRCO test servers take."""

from __future__ import annotations

import argparse
from pathlib import Path

from dafm_core.cli.arguments import add_model

EXAMPLES = {
    "submit": "examples:\n"
    "  dafm submit cirr test1/ --model light/ --bank bank/ --out submission/\n"
    "  dafm submit cirr val/ --model light/ --out check/ --score   # what the server would say",
}


_FILES: dict[str, list[tuple[str, str | None]]] = {
    "cirr": [("recall", "recall"), ("recall_subset", "recall_subset")],
    "circo": [("circo", None)],
}
"""File names, and the metric each is for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark, the store and the model."""
    parser.add_argument("benchmark", choices=["cirr", "circo"])
    add_model(parser)
    parser.add_argument("--out", required=True, type=Path, help="folder for the files")
    parser.add_argument(
        "--score", action="store_true", help="score the files too, where the split has targets"
    )


def run(args: argparse.Namespace) -> None:
    """Rank, lint, write; then score what was written, if asked."""
    from dafm_core.cli.models import open_model
    from dafm_core.errors import OptionError
    from dafm_core.evaluation.score_file import score_submission
    from dafm_core.formats.lint import benchmark_of
    from dafm_core.formats.submission import fuser_blocks, write_submission

    fuser, stack = open_model(args.store, args.model, args.bank)
    dataset = stack.dataset
    found = benchmark_of(dataset)
    if found != args.benchmark:
        raise OptionError(f"dafm submit {args.benchmark}: {args.store} is of {dataset.protocol}.")
    for name, metric in _FILES[args.benchmark]:
        path = write_submission(
            args.out / f"{name}.json",
            dataset,
            fuser_blocks(fuser, stack),
            gallery_ids=stack.gallery_ids,
            metric=metric,
        )
        print(f"{path}: {dataset.n_queries} queries, {path.stat().st_size / 1e6:.2f} MB, linted")
        if args.score:
            values = score_submission(path, dataset).values
            print("  " + "  ".join(f"{key} {100 * value:.2f}" for key, value in values.items()))
