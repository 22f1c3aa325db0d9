"""TREC runs: a line ``query Q0 image rank score tag`` per candidate."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from dafm_core.errors import OptionError, SimilarityError
from dafm_core.formats.columns import read_text
from dafm_core.formats.content import Order, RankedLists, Request
from dafm_core.formats.ranks import ranked_lists


def read_trec(path: Path, request: Request) -> RankedLists:
    """Return the lists of a run, ordered by its scores or by its ranks; see ``ranks.py``.

    Raises
    ------
    SimilarityError
        At the first line that is not of this form, or where ranks contradict scores.
    OptionError
        For a key: a run has none.
    """
    if request.key is not None:
        raise OptionError(f"{path}: holds lists with ids; leave {request.key_option} out.")
    return ranked_lists(path, read_trec_run(path, request.order), request)


def read_trec_run(path: Path, order: Order | None = None) -> pl.DataFrame:
    """Return query_id, image_id, rank and score of each line.

    Parameters
    ----------
    path : Path
    order : {"score", "rank"}, optional
        Where ranks are to decide, scores need not be numbers; ranks never need to be.

    Raises
    ------
    SimilarityError
        At the first line that is not of this form.
    """
    fields = r"(?<query_id>\S+)\s+\S+\s+(?<image_id>\S+)\s+(?<rank>\S+)\s+(?<score>\S+)"
    form = rf"^\s*{fields}(?:\s+\S+)?\s*$"
    lines = pl.DataFrame({"line": read_text(path).split("\n")}, schema={"line": pl.String})
    lines = lines.with_row_index().filter(pl.col("line").str.strip_chars() != "")
    groups = pl.col("line").str.extract_groups(form).alias("f")
    frame = lines.select("index", groups).unnest("f")
    frame = frame.with_columns(pl.col("rank", "score").cast(pl.Float64, strict=False))
    needed = ["query_id", "image_id", "rank" if order == "rank" else "score"]
    bad = frame.filter(pl.any_horizontal(pl.col(needed).is_null()))
    if bad.height:
        raise SimilarityError(
            f"{path}: line {bad['index'][0] + 1}: expected 'query Q0 image rank score tag'."
        )
    return frame.drop("index")
