"""``dafm submit``: the files that a benchmark's test server takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.cli.arguments import add_exact, add_model
from dafm_core.datasets.benchmarks import SERVERS

if TYPE_CHECKING:
    from dafm_core.metrics.families import Head

EXAMPLES = {
    "submit": "examples:\n"
    "  dafm submit cirr test1/ --model light/ --bank bank/ --out submission/\n"
    "  dafm submit cirr val/ --model light/ --out check/ --score   # what the server would say",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark, the store and the model."""
    parser.add_argument("benchmark", choices=list(SERVERS))
    add_model(parser)
    parser.add_argument("--out", required=True, type=Path, help="folder for the files")
    add_exact(parser)
    parser.add_argument(
        "--score", action="store_true", help="score the files too, where the split has targets"
    )


def run(args: argparse.Namespace) -> None:
    """Rank, lint, write; then score what was written, if asked."""
    from dafm_core.cli.models import in_sample, open_model
    from dafm_core.datasets.benchmarks import Benchmark
    from dafm_core.errors import OptionError, SubmissionError
    from dafm_core.evaluation.score_file import score_submission
    from dafm_core.formats.submission import fuser_blocks, undecided_lists, write_submission
    from dafm_core.reporting.saying import print_notes

    fuser, stack = open_model(args.store, args.model, args.bank, verify=args.verify)
    dataset = stack.dataset
    benchmark = Benchmark.with_server(dataset.protocol)
    if benchmark.name != args.benchmark:
        raise OptionError(f"dafm submit {args.benchmark}: {args.store} is of {dataset.protocol}.")
    print_notes(dataset.problems())
    withheld = 0
    for file in benchmark.files:
        head: Head = "subset" if file.within_subset else "gallery"
        undecided = undecided_lists(
            fuser, stack, depth=file.depth, within_subset=file.within_subset
        )
        if undecided:
            withheld += 1
            print(
                f"{args.out / file.name}: withheld: in the lists of {undecided} of "
                f"{dataset.n_queries} queries candidates would stand in an order nobody knows, "
                "because no provider has scored them. Score them, or import longer lists."
            )
            continue
        path = write_submission(
            args.out / file.name,
            dataset,
            fuser_blocks(
                fuser,
                stack,
                head=head,
                depth=None if file.within_subset else file.depth,
                exact=args.exact,
            ),
            gallery_ids=stack.gallery_ids,
            metric=file.metric,
        )
        size = f"{dataset.n_queries} queries, {path.stat().st_size / 1e6:.2f} MB"
        by = f", by the {head} head" if len(fuser.heads) > 1 else ""
        print(f"{path}: {size}{by}, linted")
        if args.score:
            values = score_submission(path, dataset, allow_fitted=True).values
            print("  " + "  ".join(f"{key} {100 * value:.2f}" for key, value in values.items()))
            if line := in_sample(fuser.fitted_ids(stack), stack.query_ids):
                print(f"  {line}; these values flatter it and are no result")
    if withheld == len(benchmark.files):
        raise SubmissionError(f"dafm submit: nothing is written to {args.out}: see above.")
