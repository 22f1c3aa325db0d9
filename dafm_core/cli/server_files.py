"""``dafm lint`` and ``dafm score-file``: files for test servers, wherever they were made."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafm_core.cli.arguments import add_json, add_split, read_settings

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.evaluation.evaluate import Evaluation

EXAMPLES = {
    "lint": "examples:\n"
    "  dafm lint recall.json                                          # its form alone\n"
    "  dafm lint recall.json --dataset cirr:data/cirr --split test1   # ids and queries too",
    "score-file": "examples:\n"
    "  dafm score-file circo.json --dataset circo:data/circo\n"
    "  dafm score-file recall.json recall_subset.json --dataset cirr:data/cirr   # with Rmean",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files and the dataset."""
    is_lint = parser.prog.endswith("lint")
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs=1 if is_lint else "+",
        type=Path,
        help="a file for CIRR's or CIRCO's test server (.json)",
    )
    parser.add_argument(
        "--dataset", required=not is_lint, help="NAME:PATH, the dataset the file is for"
    )
    add_split(parser, "--dataset")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Lint or score, and print."""
    dataset = _dataset(args)
    if args.command == "lint":
        _lint(args, dataset)
    elif dataset is not None:
        _score(args, dataset)


def _dataset(args: argparse.Namespace) -> Dataset | None:
    from dafm_core.catalog import PluginCatalog

    if args.dataset is None:
        return None
    options = read_settings(args.dataset_set, flag="--dataset-set")
    return PluginCatalog.discover().load_dataset(args.dataset, split=args.split, options=options)


def _lint(args: argparse.Namespace, dataset: Dataset | None) -> None:
    from dafm_core.errors import SubmissionError
    from dafm_core.formats.lint import lint_submission
    from dafm_core.reporting.saying import print_json, say

    (path,) = args.files
    found = lint_submission(path, dataset)
    if args.json:
        print_json({"file": str(path), "errors": found.errors, "warnings": found.warnings})
    else:
        for line in found.errors:
            say(f"error: {line}")
        for line in found.warnings:
            say(f"warning: {line}")
        checked = "its form" if dataset is None else f"against {dataset.protocol}"
        counts = f"{len(found.errors)} errors, {len(found.warnings)} warnings"
        say(f"{path}: checked {checked}; {counts}")
    if found.errors:
        raise SubmissionError(f"{path}: {found.errors[0]}. The server would not take it as it is.")


def _score(args: argparse.Namespace, dataset: Dataset) -> None:
    from dafm_core.evaluation.score_file import score_submission, score_submissions
    from dafm_core.formats.lint import lint_submission
    from dafm_core.metrics.spec import metric_label
    from dafm_core.reporting.saying import print_json, print_notes, say

    files = {str(path): score_submission(path, dataset).metrics for path in args.files}
    notes = dataset.problems()
    for path in args.files:
        found = lint_submission(path, dataset)
        notes += [f"{path}: {line}" for line in (*found.errors, *found.warnings)]
    evaluation = score_submissions(args.files, dataset)
    record = _record(evaluation, dataset) | {
        "files": {path: list(metrics) for path, metrics in files.items()},
        "notes": notes,
    }
    if args.json:
        print_json(record)
        return
    for path, metrics in files.items():
        say(f"{path}: decides {', '.join(map(metric_label, metrics))}")
    if record["undecided"]:
        say(f"decided by none: {', '.join(map(metric_label, record['undecided']))}")
    print_notes(notes)
    say(f"{dataset.protocol}, {dataset.n_queries} queries, as written:")
    say("  ".join(f"{metric_label(key)} {value:.2f}" for key, value in record["values"].items()))
    for tag, values in record["by_tag"].items():
        shown = "  ".join(f"{metric_label(key)} {value:.2f}" for key, value in values.items())
        say(f"  {tag}: {shown}")


def _record(evaluation: Evaluation, dataset: Dataset) -> dict[str, Any]:
    """Return the values in percent, the metrics that are left open, and values by tag."""
    metrics = evaluation.metrics
    by_metric = {metric: evaluation.by_tag(metric) for metric in metrics}
    tags = sorted({tag for values in by_metric.values() for tag in values})
    return {
        "protocol": dataset.protocol,
        "n_queries": dataset.n_queries,
        "values": {metric: 100 * value for metric, value in evaluation.values.items()},
        "undecided": [metric for metric in dataset.metrics if metric not in metrics],
        "by_tag": {tag: {m: 100 * by_metric[m][tag] for m in metrics} for tag in tags},
    }
