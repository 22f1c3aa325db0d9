"""Files for the test servers of CIRR and CIRCO: written, linted before they are written, and
scored.

A file is ranked, linted and only then written, in one step. A *val* file is scored by the
same reader that imports such files (``ranked_lists.py``) and by the same metrics as everything
else, so that what is uploaded is what was measured.

Ties are broken by a hash of the image id: the same everywhere, independent of the gallery's order
(which leaks labels on CIRR) and of the labels. A metric of the written lists can therefore differ
from the expected value over all orders that an evaluation of the scores reports, where scores tie.

References
----------
The formats are those of https://github.com/Cuberick-Orion/CIRR (Test-split_server.md) and
https://github.com/miccunifi/CIRCO (Submission Format).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import AlignmentError, OptionError, SimilarityError, SubmissionError, closest
from dafm_core.formats.lint import DEPTHS, VERSION, benchmark_of, lint_content
from dafm_core.ground.ragged import Ragged
from dafm_core.store.run import Run

if TYPE_CHECKING:
    from dafm_core.fusion.base import Fuser
    from dafm_core.store.stack import SimilarityStack

ScoreBlock = tuple[Sequence[str], NDArray[np.float32]]
"""Query ids and their scores, (B, N); -inf where a candidate is excluded."""


def run_blocks(run: Run) -> Iterator[ScoreBlock]:
    """Yield a run's scores as one block."""
    yield run.query_ids, run.scores


def fuser_blocks(fuser: Fuser, stack: SimilarityStack) -> Iterator[ScoreBlock]:
    """Yield fused scores tile by tile; memory follows the tile."""
    score = fuser.scorer(stack)
    for rows, tile in stack.tiles():
        yield stack.query_ids[rows], score(tile)


def write_submission(
    path: str | Path,
    dataset: Dataset,
    blocks: Iterable[ScoreBlock],
    *,
    gallery_ids: Sequence[str],
    metric: str | None = None,
) -> Path:
    """Rank, lint and write one file for a test server.

    Parameters
    ----------
    path : path
    dataset : Dataset
        A split of CIRR or CIRCO; every query of it must be in the blocks.
    blocks : iterable of (query ids, scores)
        From :func:`run_blocks` or :func:`fuser_blocks`.
    gallery_ids : sequence of str
        Columns of the scores: the dataset's gallery in any order.
    metric : {"recall", "recall_subset"} or None
        Which of CIRR's two files: the top 50 of the gallery, or the top 3 of the subset. The two
        may come from different fusers. None for CIRCO: the top 50.

    Returns
    -------
    Path
        The file, written atomically.

    Raises
    ------
    SubmissionError
        If the server would reject the file, with the first finding; nothing is written then.
    AlignmentError
        If the gallery is another, or a query is unknown.
    SimilarityError
        If a score is NaN.
    """
    benchmark = benchmark_of(dataset)
    if (benchmark, metric) not in DEPTHS:
        known = [str(name) for kind, name in DEPTHS if kind == benchmark]
        raise OptionError(f"submit: {benchmark} metric {metric!r}{closest(str(metric), known)}")
    lists = rank(
        blocks,
        dataset,
        gallery_ids=gallery_ids,
        depth=DEPTHS[benchmark, metric],
        within_subset=metric == "recall_subset",
    )
    content: dict[str, Any] = {}
    if benchmark == "cirr":
        content = {"version": VERSION, "metric": metric, **lists}
    else:
        content = {query: [_as_number(i) for i in ids] for query, ids in lists.items()}
    data = json.dumps(content, separators=(",", ":")).encode()
    findings = lint_content(content, dataset, n_bytes=len(data))
    if findings:
        more = f" (and {len(findings) - 1} more findings)" if len(findings) > 1 else ""
        raise SubmissionError(f"{path}: not written: {findings[0]}{more}.")
    return _write_atomically(Path(path), data)


def rank(
    blocks: Iterable[ScoreBlock],
    dataset: Dataset,
    *,
    gallery_ids: Sequence[str],
    depth: int,
    within_subset: bool = False,
) -> dict[str, list[str]]:
    """Return each query's best candidates, best first, in the dataset's order of queries.

    Excluded candidates are left out; with ``within_subset`` only members of the query's subset
    are ranked. Ties are broken by a hash of the image id.

    Raises
    ------
    AlignmentError
        If the gallery is another, or a query is unknown, given twice or missing.
    SimilarityError
        If a score is NaN.
    """
    index = {image_id: column for column, image_id in enumerate(gallery_ids)}
    if set(index) != set(dataset.gallery_ids) or len(gallery_ids) != len(index):
        raise AlignmentError(
            f"submit: the scores' gallery of {len(gallery_ids)} is not {dataset.protocol}'s "
            f"of {dataset.n_gallery}. Score this split."
        )
    rows = {query_id: row for row, query_id in enumerate(dataset.query_ids)}
    excluded = Ragged.from_ids(dataset.queries["excluded"].to_list(), index)
    members = Ragged.from_ids(dataset.queries["subset"].to_list(), index)
    places = _tie_places(gallery_ids)
    lists: dict[str, list[str]] = {}
    for query_ids, scores in blocks:
        for query_id, row_scores in zip(query_ids, scores, strict=True):
            if query_id not in rows or query_id in lists:
                problem = "stands twice" if query_id in lists else f"is not in {dataset.protocol}"
                raise AlignmentError(f"submit: query {query_id!r} {problem}.")
            row = rows[query_id]
            kept = row_scores.copy()
            kept[excluded[row]] = -np.inf
            if within_subset:
                pool = np.unique(members[row])
                best = pool[_best(kept[pool], places[pool], depth, query_id)]
            else:
                best = _best(kept, places, depth, query_id)
            lists[query_id] = [gallery_ids[column] for column in best]
    missing = [query_id for query_id in dataset.query_ids if query_id not in lists]
    if missing:
        raise AlignmentError(
            f"submit: no scores for query {missing[0]!r} ({len(missing)} missing)."
        )
    return {query_id: lists[query_id] for query_id in dataset.query_ids}


def _tie_places(gallery_ids: Sequence[str]) -> NDArray[np.int64]:
    """Return each image's place in the order of hashes that breaks ties."""
    hashes = [hashlib.sha256(image_id.encode()).digest() for image_id in gallery_ids]
    places = np.empty(len(hashes), np.int64)
    places[sorted(range(len(hashes)), key=hashes.__getitem__)] = np.arange(len(hashes))
    return places


def _best(
    scores: NDArray[np.float32], places: NDArray[np.int64], depth: int, query_id: str
) -> NDArray[np.int64]:
    """Return the positions of the ``depth`` best finite scores, best first, ties by place."""
    if np.isnan(scores).any():
        raise SimilarityError(f"submit: query {query_id!r} has a NaN score. Look at its fuser.")
    bar = np.partition(scores, -depth)[-depth] if depth < len(scores) else -np.inf
    near = np.flatnonzero((scores >= bar) & (scores > -np.inf))
    order: NDArray[np.int64] = near[np.lexsort((places[near], -scores[near]))]
    return order[:depth]


def _as_number(image_id: str) -> int:
    if not image_id.isdecimal():
        raise SubmissionError(f"submit: CIRCO image ids are numbers, got {image_id!r}.")
    return int(image_id)


def _write_atomically(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return path
