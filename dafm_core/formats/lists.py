"""Lists of the best candidates per query, as submission files, TREC runs and long tables hold them.

One reader for both uses: what is imported into a store and what is scored before an upload are
the same lists. A list says nothing about the candidates it leaves out, except that they were
below the last one it names; so all of them tie, one step below it, and every metric then takes
the expectation over a random order among them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import AlignmentError, SimilarityError, SubmissionError, closest
from dafm_core.ground.ragged import Ragged

SubmissionMetric = Literal["recall", "recall_subset"]
HEADER: Final = ("version", "metric")
"""Keys of a CIRR file that are not queries; a CIRCO file has none."""


@dataclass(frozen=True, kw_only=True)
class RankedLists:
    """The content of a CIRR or CIRCO submission file.

    Parameters
    ----------
    path : Path
    benchmark : {"cirr", "circo"}
    metric : {"recall", "recall_subset"} or None
        What a CIRR file is for; None for CIRCO.
    lists : mapping of str to sequence of str
        Image ids of each query, best first.
    """

    path: Path
    benchmark: Literal["cirr", "circo"]
    metric: SubmissionMetric | None
    lists: Mapping[str, Sequence[str]] = field(repr=False)

    def frame(self) -> pl.DataFrame:
        """Return one row per listed candidate: query_id, image_id, and minus its rank as score."""
        lengths = np.array([len(ids) for ids in self.lists.values()], dtype=np.int64)
        queries = np.repeat(np.arange(len(lengths)), lengths)
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        return pl.DataFrame(
            {
                "query_id": pl.Series(list(self.lists), dtype=pl.String).gather(queries),
                "image_id": pl.Series(
                    [i for ids in self.lists.values() for i in ids], dtype=pl.String
                ),
                "score": -(np.arange(lengths.sum()) - starts + 1.0),
            }
        )


def read_submission(path: str | Path) -> RankedLists:
    """Read a CIRR or CIRCO submission file; which of the two it is, its keys say.

    Raises
    ------
    SubmissionError
        If it is missing, not JSON, or a query's value is no list of image ids. Whether a server
        would accept it is another question: see ``submission.lint_submission``.
    """
    path = Path(path)
    content, repeated = load_json_object(path)
    if repeated:
        raise SubmissionError(f"{path}: query {repeated[0]!r} stands twice.")
    metric = content.get("metric")
    if metric is not None and metric not in ("recall", "recall_subset"):
        raise SubmissionError(
            f"{path}: metric {metric!r}{closest(str(metric), ('recall', 'recall_subset'))}"
        )
    lists: dict[str, list[str]] = {}
    for query, ids in content.items():
        if query in HEADER:
            continue
        if not isinstance(ids, list) or not all(type(i) in (str, int) for i in ids):
            raise SubmissionError(
                f"{path}: query {query!r}: expected a list of image ids, got {str(ids)[:60]}."
            )
        lists[query] = [str(i) for i in ids]
    benchmark: Literal["cirr", "circo"] = "cirr" if metric else "circo"
    return RankedLists(path=path, benchmark=benchmark, metric=metric, lists=lists)


def load_json_object(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the object a JSON file holds, and the keys that stand twice in it."""
    repeated: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated.extend(sorted({key for key in content if keys.count(key) > 1}))
        return content

    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=collect)
    except FileNotFoundError:
        raise SubmissionError(f"{path}: no such file. Check the path.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise SubmissionError(f"{path}: expected JSON ({error}).") from None
    if not isinstance(content, dict):
        raise SubmissionError(
            f"{path}: expected a JSON object of queries, got {type(content).__name__}."
        )
    return content, repeated


def read_trec_run(path: Path) -> pl.DataFrame:
    """Return query_id, image_id and score of each line ``query Q0 image rank score tag``.

    Raises
    ------
    SimilarityError
        At the first line that is not of this form.
    """
    form = r"^\s*(?<query_id>\S+)\s+\S+\s+(?<image_id>\S+)\s+\S+\s+(?<score>\S+)(?:\s+\S+)?\s*$"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise SimilarityError(f"{path}: expected a TREC run ({error}).") from None
    lines = pl.DataFrame({"line": text.split("\n")}, schema={"line": pl.String}).with_row_index()
    lines = lines.filter(pl.col("line").str.strip_chars() != "")
    frame = lines.select("index", pl.col("line").str.extract_groups(form).alias("f")).unnest("f")
    frame = frame.with_columns(pl.col("score").cast(pl.Float64, strict=False))
    bad = frame.filter(pl.any_horizontal(pl.all().is_null()))
    if bad.height:
        raise SimilarityError(
            f"{path}: line {bad['index'][0] + 1}: expected 'query Q0 image rank score tag'."
        )
    return frame.drop("index")


@dataclass(frozen=True, kw_only=True, eq=False)
class ListedScores:
    """Scores of the candidates that each query's list names, in the order of a dataset.

    Parameters
    ----------
    columns : Ragged of n_queries rows
        Gallery columns of the listed candidates.
    scores : ndarray of shape (n_listed,), float64
    n_gallery : int
    truncated_at : int or None
        Length of the shortest list that leaves a candidate out; None where every list names the
        whole gallery but for excluded ids.
    """

    columns: Ragged
    scores: NDArray[np.float64]
    n_gallery: int
    truncated_at: int | None

    @classmethod
    def align(cls, frame: pl.DataFrame, dataset: Dataset, *, where: str) -> ListedScores:
        """Return the listed scores by a dataset's rows and columns.

        Parameters
        ----------
        frame : polars.DataFrame
            ``query_id, image_id, score`` in any order.
        dataset : Dataset
        where : str
            Starts every message, e.g. the file.

        Raises
        ------
        AlignmentError
            If an id is unknown, a candidate stands twice in a list, or a query has no list.
        SimilarityError
            If a score is NaN or infinite.
        """
        rows = _positions(frame["query_id"], dataset.query_ids, what="query", where=where)
        columns = _positions(frame["image_id"], dataset.gallery_ids, what="image", where=where)
        scores = frame["score"].cast(pl.Float64).to_numpy()
        finite = np.isfinite(scores)
        if not finite.all():
            bad = frame.row(int(np.argmin(finite)), named=True)
            raise SimilarityError(
                f"{where}: expected finite scores, got {bad['score']} "
                f"(query {bad['query_id']!r}, image {bad['image_id']!r})."
            )
        order = np.lexsort((columns, rows))
        rows, columns, scores = rows[order], columns[order], scores[order]
        twice = np.flatnonzero((np.diff(rows) == 0) & (np.diff(columns) == 0))
        if len(twice):
            row, column = int(rows[twice[0]]), int(columns[twice[0]])
            raise AlignmentError(
                f"{where}: query {dataset.query_ids[row]!r} lists image "
                f"{dataset.gallery_ids[column]!r} twice. Keep the better one."
            )
        counts = np.bincount(rows, minlength=dataset.n_queries)
        if not counts.all():
            raise AlignmentError(
                f"{where}: no list for query {dataset.query_ids[int(np.argmin(counts))]!r} "
                f"({int((counts == 0).sum())} of {dataset.n_queries} are missing)."
            )
        ragged = Ragged(np.concatenate([[0], np.cumsum(counts)]), columns)
        truncated = _truncated_at(ragged, dataset)
        return cls(
            columns=ragged, scores=scores, n_gallery=dataset.n_gallery, truncated_at=truncated
        )

    def rows(self, start: int, stop: int, dtype: str = "float32") -> NDArray[Any]:
        """Return rows ``start:stop``, (stop - start, n_gallery), of a dtype.

        Candidates that a list leaves out tie one mean step of that list below its lowest score,
        and always strictly below it in the dtype.
        """
        number = np.dtype(dtype)
        block = np.empty((stop - start, self.n_gallery), number)
        for row in range(start, stop):
            cells = slice(self.columns.offsets[row], self.columns.offsets[row + 1])
            listed = self.scores[cells].astype(number)
            lowest, step = listed.min(), float(np.ptp(self.scores[cells]))
            step = step / (len(listed) - 1) if step else 1.0
            below = np.nextafter(lowest, number.type(-np.inf))
            block[row - start] = min(number.type(float(lowest) - step), below)
            block[row - start, self.columns.values[cells]] = listed
        return block


def _truncated_at(columns: Ragged, dataset: Dataset) -> int | None:
    left_out = np.array(
        [
            dataset.n_gallery - len(np.union1d(listed, excluded))
            for listed, excluded in zip(columns, dataset.excluded, strict=True)
        ]
    )
    short = columns.counts[left_out > 0]
    return int(short.min()) if len(short) else None


def _positions(given: pl.Series, ids: Sequence[str], *, what: str, where: str) -> NDArray[np.int64]:
    known = pl.DataFrame(
        {"id": ids, "position": np.arange(len(ids))}, schema_overrides={"id": pl.String}
    )
    found = (
        given.cast(pl.String).to_frame("id").join(known, on="id", how="left", maintain_order="left")
    )
    missing = found.filter(pl.col("position").is_null())
    if missing.height:
        n_unknown = missing["id"].n_unique()
        raise AlignmentError(
            f"{where}: {n_unknown} {what} ids are unknown to the store, e.g. {missing['id'][0]!r}. "
            "Is it the same split? Leave them out, or load the dataset that has them."
        )
    return found["position"].to_numpy()
