"""Submission files made here or elsewhere, measured on a split with targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dafm_core.datasets.base import Dataset
from dafm_core.errors import SubmissionError
from dafm_core.evaluation.evaluate import Evaluation, evaluate_run
from dafm_core.formats.fitted import read_fitted
from dafm_core.formats.json_lists import read_submission
from dafm_core.formats.lists import ListedScores
from dafm_core.store.run import Run


def score_submission(
    path: str | Path, dataset: Dataset, *, allow_fitted: bool = False
) -> Evaluation:
    """Measure a file of a split with targets, through the reader that imports such files.

    Parameters
    ----------
    path : path
    dataset : Dataset
    allow_fitted : bool, default=False
        Measure a file of queries that its fusion was fitted on, which flatters it.

    Returns
    -------
    Evaluation
        Of the dataset's metrics that the file decides: ``recall@K`` or ``map@K`` up to its depth,
        or ``rsubset@K`` for CIRR's subset file. ``rmean`` needs both files.

    Raises
    ------
    SubmissionError
        If the file is malformed.
    AlignmentError
        If ids are unknown, or a query has no list.
    DatasetError
        If the split has no targets.
    LeakageError
        If the fusion was fitted on a query of the file.
    """
    lists = read_submission(path)
    listed = ListedScores.align(lists.frame(), dataset, where=str(path))
    scores = listed.rows(0, dataset.n_queries)
    scores[dataset.excluded.rows, dataset.excluded.values] = -np.inf
    decided = []
    for metric in dataset.metrics:
        family, _, k = metric.partition("@")
        if family in lists.file.decides and int(k) <= lists.file.depth:
            decided.append(metric)
    if not decided:
        raise SubmissionError(f"{path}: decides none of {', '.join(dataset.metrics)}.")
    fitted = read_fitted(lists.path)
    run = Run(lists.path.name, dataset.query_ids, dataset.gallery_ids, scores, fitted)
    return evaluate_run(run, dataset, metrics=decided, allow_fitted=allow_fitted)
