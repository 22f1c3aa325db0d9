"""Scores and ranks of one list: which of the two decides, and a refusal where they contradict.

Everything is higher-is-better afterwards; a rank becomes minus the rank.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from dafm_core.errors import SimilarityError
from dafm_core.formats.content import RankedLists, Request


def ranked_lists(
    path: Path, frame: pl.DataFrame, request: Request, *, numbered: bool = False
) -> RankedLists:
    """Return lists whose order is decided by their scores, or by their ranks.

    Ranks decide where they are asked for, where there are no scores, and where the scores of every
    query are all equal and so order nothing. Otherwise scores decide, and ranks must agree.

    Parameters
    ----------
    path : Path
    frame : polars.DataFrame
        ``query_id, image_id`` and ``score``, ``rank`` (numbers) or both.
    request : Request
    numbered : bool
        Whether a column of ranks may only number the lines of the whole file (a table's index).

    Raises
    ------
    SimilarityError
        If scores and ranks contradict each other and the request does not say which counts, or
        what it asks for is not there.
    """
    if not frame.height:
        raise SimilarityError(f"{path}: expected scored candidates, got none. Is the file whole?")
    has_scores = "score" in frame.columns
    has_ranks = "rank" in frame.columns and _orders(frame, "rank")
    if has_ranks and numbered and request.order is None and has_scores and _numbers_lines(frame):
        has_ranks = False
    order = request.order
    if order is None:
        flat = has_scores and not _orders(frame, "score")
        order = "rank" if has_ranks and (flat or not has_scores) else "score"
        if order == "score" and has_ranks:
            _check_agreement(path, frame, request)
    if order == "rank" and "rank" not in frame.columns:
        raise SimilarityError(f"{path}: has no ranks to go by. Leave --order out.")
    if order == "score" and not has_scores:
        raise SimilarityError(f"{path}: has no scores to go by. Leave --order out.")
    sign = -1.0 if order == "rank" or request.distance else 1.0
    scores = (pl.col(order).cast(pl.Float64) * sign).alias("score")
    lists = frame.select("query_id", "image_id", scores)
    if lists["score"].null_count():
        row = lists.filter(pl.col("score").is_null()).row(0, named=True)
        raise SimilarityError(
            f"{path}: expected a {order} for every line, got none for query {row['query_id']!r}, "
            f"image {row['image_id']!r}."
        )
    return RankedLists(path=path, frame=lists, order=order)


def _orders(frame: pl.DataFrame, column: str) -> bool:
    """Whether a column has two different values for some query, and no gap."""
    if frame[column].null_count():
        return column == "score"  # what is missing is named later
    distinct = frame.group_by("query_id").agg(pl.col(column).n_unique())
    return bool((distinct[column] > 1).any())


def _numbers_lines(frame: pl.DataFrame) -> bool:
    """Whether the ranks go on from one query to the next instead of starting again."""
    return frame["query_id"].n_unique() > 1 and frame["rank"].n_unique() == frame.height


def _check_agreement(path: Path, frame: pl.DataFrame, request: Request) -> None:
    """Raise SimilarityError where a better rank has a worse score."""
    better = pl.col("score") * (-1.0 if request.distance else 1.0)
    by_rank = frame.with_columns(better=better).sort("query_id", "rank", maintain_order=True)
    # the lowest score among all strictly better ranks must not be below this one
    groups = by_rank.group_by("query_id", "rank", maintain_order=True).agg(
        pl.col("better").min().alias("low"), pl.col("better").max().alias("high")
    )
    before = pl.col("low").cum_min().shift(1).over("query_id")
    wrong = groups.filter(pl.col("high") > before)
    if not wrong.height:
        return
    n_wrong, n_queries = wrong["query_id"].n_unique(), frame["query_id"].n_unique()
    query = wrong["query_id"][0]
    lines = by_rank.filter(pl.col("query_id") == query)
    by_score = lines.sort("better", descending=True, maintain_order=True)["image_id"][0]
    turn = "similarity" if request.distance else "distance"
    raise SimilarityError(
        f"{path}: ranks contradict scores for {n_wrong} of {n_queries} queries: the best of query "
        f"{query!r} is {lines['image_id'][0]!r} by rank, {by_score!r} by score. Choose with "
        f"--order rank or --order score; or give --direction {turn}, if scores are of that kind."
    )
