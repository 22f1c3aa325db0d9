"""Files for test servers, made here or elsewhere, measured on a split with targets as the server
measures them: as they are written.

Nothing is repaired. A reference that a list names takes a place, and an image that a list leaves
out is not retrieved. What a server demands of a file is checked in ``formats/lint.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import QUERY_SCHEMA
from dafm_core.errors import OptionError, SubmissionError
from dafm_core.evaluation.evaluate import Evaluation
from dafm_core.formats.fitted import read_fitted
from dafm_core.formats.json_lists import SubmissionLists, read_submission
from dafm_core.formats.lists import ListedScores
from dafm_core.fusion.record import refuse_fitted
from dafm_core.metrics.spec import Metric, parse_metric, parse_metrics
from dafm_core.metrics.truth import Truth, require_truth

BLOCK_ROWS: Final = 256


def score_submission(
    path: str | Path, dataset: Dataset, *, allow_fitted: bool = False
) -> Evaluation:
    """Measure a file as it is written.

    Parameters
    ----------
    path : path
    dataset : Dataset
    allow_fitted : bool, default=False
        Measure a file of queries that its fusion was fitted on, which flatters it.

    Returns
    -------
    Evaluation
        Of the dataset's metrics that the file decides: ``recall@K``, ``map@K`` or ``first@K`` up
        to its depth, or ``rsubset@K`` for CIRR's subset file. ``rmean`` needs both files: see
        :func:`score_submissions`.

    Raises
    ------
    SubmissionError
        If the file is malformed, or decides none of the metrics.
    AlignmentError
        If ids are unknown, a list names an image twice, or a query has no list.
    DatasetError
        If a query has no target.
    LeakageError
        If the fusion was fitted on a query of the file.
    """
    lists = read_submission(path)
    if not allow_fitted:
        refuse_fitted(read_fitted(lists.path), dataset.query_ids, who=str(path))
    decided = decided_metrics(lists, dataset)
    if not decided:
        raise SubmissionError(f"{path}: decides none of {', '.join(dataset.metrics)}.")
    plain = _without_exclusions(dataset)
    listed = ListedScores.align(lists.frame(), plain, where=str(path))
    truth = Truth.of(plain)
    require_truth(plain, truth, [])
    metrics = [_of_the_list(name) for name in decided]
    values = np.empty((dataset.n_queries, len(metrics)))
    for start in range(0, dataset.n_queries, BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, dataset.n_queries))
        values[rows] = truth.part(rows).measure(_ranking(listed, rows), metrics)
    return Evaluation.of(lists.path.name, dataset, decided, values)


def score_submissions(paths: Sequence[str | Path], dataset: Dataset) -> Evaluation:
    """Measure the files of one method together; means over several, as ``rmean``, come with them.

    Raises
    ------
    OptionError
        If two files decide the same metric.
    DafmError
        As :func:`score_submission`.
    """
    evaluations = [score_submission(path, dataset) for path in paths]
    names = [metric for evaluation in evaluations for metric in evaluation.metrics]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OptionError(
            f"{evaluations[-1].name}: decides {twice[0]}, as {evaluations[0].name} does. Score the "
            "files of one method together, and each method apart."
        )
    measured = {name: e.frame[name].to_numpy() for e in evaluations for name in e.metrics}
    for name in dataset.metrics:
        means = parse_metric(name).mean_of
        if means and all(metric in measured for metric in means):
            measured[name] = np.mean([measured[metric] for metric in means], axis=0)
    metrics = [name for name in dataset.metrics if name in measured]
    values = np.stack([measured[name] for name in metrics], axis=1)
    return Evaluation.of(" + ".join(e.name for e in evaluations), dataset, metrics, values)


def decided_metrics(lists: SubmissionLists, dataset: Dataset) -> list[str]:
    """Return the dataset's metrics that a file decides, in their order."""
    decided = []
    for metric in dataset.metrics:
        family, _, k = metric.partition("@")
        if family in lists.file.decides and int(k) <= lists.file.depth:
            decided.append(metric)
    return decided


def _of_the_list(name: str) -> Metric:
    """Return the metric of a whole list: one of a subset's list counts all that the list names."""
    family, _, depth = name.partition("@")
    return parse_metrics([f"recall@{depth}" if family == "rsubset" else name])[0]


def _ranking(listed: ListedScores, rows: slice) -> NDArray[np.float64]:
    """Return the scores of the listed images, -inf for all others."""
    cells = listed.columns.part(rows)
    scores = np.full((len(cells), listed.n_gallery), -np.inf)
    start = listed.columns.offsets[rows.start]
    scores[cells.rows, cells.values] = listed.scores[start : start + len(cells.values)]
    return scores


def _without_exclusions(dataset: Dataset) -> Dataset:
    """Return the dataset with every image in every ranking: a list counts as it is written."""
    no_ids = pl.lit([], dtype=QUERY_SCHEMA["excluded"])
    whole_gallery = pl.lit(None, dtype=QUERY_SCHEMA["candidates"])
    queries = dataset.queries.with_columns(excluded=no_ids, candidates=whole_gallery)
    return replace(dataset, queries=queries)
