"""Files for test servers, ranked, linted and only then written, in one step.

What a server wants is said by the ``Benchmark`` of the protocol. Such files are scored by
``evaluation/score_file.py``, through the reader that imports them.

Ties are broken by a hash of the image id: the same everywhere, independent of the gallery's order
(which leaks labels on CIRR) and of the labels. A metric of the written lists can therefore differ
from the expected value over all orders that an evaluation of the scores reports, where scores tie.

References
----------
The formats are those of https://github.com/Cuberick-Orion/CIRR (Test-split_server.md) and
https://github.com/miccunifi/CIRCO (Submission Format).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.benchmarks import Benchmark
from dafm_core.errors import AlignmentError, SimilarityError, SubmissionError
from dafm_core.formats.fitted import FusedBlocks, ListBlock, ScoreBlock, fitted_text
from dafm_core.formats.lint import lint_content
from dafm_core.fusion.best import Best
from dafm_core.ground.files import replacing_with
from dafm_core.ground.ids import Ids
from dafm_core.ground.ordering import best_ranked, tie_places
from dafm_core.ground.ragged import Ragged
from dafm_core.metrics.families import Head
from dafm_core.store.run import Run

if TYPE_CHECKING:
    from dafm_core.fusion.base import Fuser
    from dafm_core.store.stack import SimilarityStack


def run_blocks(run: Run, *, head: Head = "gallery") -> FusedBlocks:
    """Return a run's scores as one block: those of the gallery, or what ranks the subset."""
    if run.subset_scores is None:
        return FusedBlocks([(run.query_ids, run.scores)], run.fitted_query_ids)
    scores = run.scores if head == "gallery" else run.subset_scores
    return FusedBlocks([(run.query_ids, scores)], run.fitted_query_ids, head)


def fuser_blocks(
    fuser: Fuser,
    stack: SimilarityStack,
    *,
    head: Head = "gallery",
    leave_out: bool = False,
    depth: int | None = None,
    exact: bool = False,
) -> FusedBlocks:
    """Return fused scores tile by tile; memory follows the tile. Errors as ``Fuser.fuse``.

    Parameters
    ----------
    head : {"gallery", "subset"}
        Which score; see :meth:`~dafm_core.fusion.base.Fuser.scorer`.
    leave_out : bool
        Whether candidates that no list should have are -inf: those that no provider knows and,
        under the subset's head, those outside of the query's subset.
    depth : int, optional
        How many of each query are wanted under the gallery's head: blocks are then lists, where
        a fusion has a faster way to them.
    exact : bool
        Whether to fuse whole rows for lists too; see :meth:`Fuser.best_scorer`.
    """
    named = head if len(fuser.heads) > 1 else None
    if depth is not None and head == "gallery" and not stack.gallery.unknown:
        best = _best_blocks(fuser, stack, depth, exact=exact)
        return FusedBlocks(best, fuser.fitted_ids(stack), named)
    score = fuser.scorer(stack, head=head)
    subsets = stack.dataset.subsets if head == "subset" else None

    def blocks() -> Iterator[ScoreBlock]:
        for rows, tile in stack.tiles():
            fused = score(tile)
            if leave_out and subsets is not None:
                fused = np.where(_members(subsets, rows, fused.shape), fused, np.float32(-np.inf))
            if leave_out and stack.gallery.unknown:
                fused = np.where(fuser.unranked(tile, stack.gallery), np.float32(-np.inf), fused)
            yield stack.query_ids[rows], fused

    return FusedBlocks(blocks(), fuser.fitted_ids(stack), named)


def _best_blocks(
    fuser: Fuser, stack: SimilarityStack, depth: int, *, exact: bool
) -> Iterator[ListBlock]:
    # A list leaves out what is removed, of which a tile still shows a query's own targets.
    shown = stack.dataset.removed.counts - stack.dataset.excluded.counts
    score = fuser.best_scorer(stack, depth + int(shown.max(initial=0)), exact=exact)
    for rows, tile in stack.tiles():
        yield stack.query_ids[rows], score(tile)


def undecided_lists(
    fuser: Fuser, stack: SimilarityStack, *, depth: int, within_subset: bool = False
) -> int:
    """Return for how many queries a list of this depth holds candidates in an order nobody knows.

    That is where fewer candidates than the list has places are known to any provider, and more than
    one is left for the rest. Such a file must not be uploaded: its order would be a hash's.
    """
    if not stack.gallery.unknown:
        return 0
    undecided = 0
    subsets = stack.dataset.subsets
    for rows, tile in stack.tiles():
        unknown = fuser.unranked(tile, stack.gallery)
        ranked = ~np.isneginf(tile[:, 0])
        if within_subset:
            member = _members(subsets, rows, ranked.shape)
            unknown, ranked = unknown & member, ranked & member
        n_unknown = np.count_nonzero(unknown, axis=1)
        n_known = np.count_nonzero(ranked, axis=1) - n_unknown
        below = (n_known < depth) & (n_unknown > 1)
        anywhere = stack.gallery.only_asked & (n_unknown > 0)
        undecided += int(np.count_nonzero(below | anywhere))
    return undecided


def _members(subsets: Ragged, rows: slice, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Mark the members of each query's subset, (B, N)."""
    member = np.zeros(shape, bool)
    cells = subsets.part(slice(rows.start, rows.start + shape[0]))
    member[cells.rows, cells.values] = True
    return member


def write_submission(
    path: str | Path,
    dataset: Dataset,
    blocks: Iterable[ListBlock],
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
    benchmark = Benchmark.with_server(dataset.protocol)
    file = benchmark.file(metric)
    lists = rank(
        blocks,
        dataset,
        gallery_ids=gallery_ids,
        depth=file.depth,
        within_subset=file.within_subset,
    )
    content: dict[str, Any] = dict(benchmark.header)
    if file.metric is not None:
        content["metric"] = file.metric
    for query, ids in lists.items():
        content[query] = [_as_number(i) for i in ids] if benchmark.id_type is int else ids
    text = json.dumps(content, separators=(",", ":"))
    findings = lint_content(content, dataset, n_bytes=len(text.encode())).errors
    if findings:
        more = f" (and {len(findings) - 1} more findings)" if len(findings) > 1 else ""
        raise SubmissionError(f"{path}: not written: {findings[0]}{more}.")
    with replacing_with(path, fitted_text(path, blocks, dataset.query_ids)) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def rank(
    blocks: Iterable[ListBlock],
    dataset: Dataset,
    *,
    gallery_ids: Sequence[str],
    depth: int,
    within_subset: bool = False,
) -> dict[str, list[str]]:
    """Return each query's best candidates, best first, in the dataset's order of queries.

    Lists are taken as they are, less what is removed: they were made deep enough. Excluded images,
    and others than the query's own candidates, are left out; with
    ``within_subset`` only members of the query's subset are ranked. Ties are broken by a hash of
    the image id.

    Raises
    ------
    AlignmentError
        If the gallery is another, or a query is unknown, given twice or missing.
    SimilarityError
        If a score is NaN.
    """
    gallery, queries = Ids(gallery_ids), Ids(dataset.query_ids)
    if set(gallery) != set(dataset.gallery_ids) or len(gallery.place) < len(gallery):
        raise AlignmentError(
            f"submit: the scores' gallery of {len(gallery)} is not {dataset.protocol}'s "
            f"of {dataset.n_gallery}. Score this split."
        )
    removed = dataset.removed.relabel(gallery.positions(dataset.gallery_ids))
    members = Ragged.from_ids(dataset.queries["subset"].to_list(), gallery.place)
    places = tie_places(gallery)
    lists: dict[str, list[str]] = {}
    for query_ids, found in blocks:
        scores = found.scores if isinstance(found, Best) else found
        for b, query_id in enumerate(query_ids):
            if query_id not in queries or query_id in lists:
                problem = "stands twice" if query_id in lists else f"is not in {dataset.protocol}"
                raise AlignmentError(f"submit: query {query_id!r} {problem}.")
            if np.isnan(scores[b]).any():
                raise SimilarityError(
                    f"submit: query {query_id!r} has a NaN score. Look at its fuser."
                )
            row = queries.place[query_id]
            if isinstance(found, Best):
                listed = found.columns[b][found.columns[b] >= 0]
                best = listed[~np.isin(listed, removed[row])][:depth]
            else:
                ranked = scores[b].copy()
                ranked[removed[row]] = -np.inf
                pool = np.unique(members[row]) if within_subset else np.arange(len(gallery))
                best = pool[best_ranked(ranked[pool], places[pool], depth)]
            lists[query_id] = [gallery[column] for column in best]
    missing = [query_id for query_id in dataset.query_ids if query_id not in lists]
    if missing:
        raise AlignmentError(
            f"submit: no scores for query {missing[0]!r} ({len(missing)} missing)."
        )
    return {query_id: lists[query_id] for query_id in dataset.query_ids}


def _as_number(image_id: str) -> int:
    if not image_id.isdecimal():
        raise SubmissionError(f"submit: CIRCO image ids are numbers, got {image_id!r}.")
    return int(image_id)
