"""Ranked lists by a dataset's rows and columns.

One way for both uses: what is imported into a store and what is scored before an upload are the
same lists. A list says nothing about the candidates it leaves out, except that they were below the
last one it names: what that decides is said by the metrics. Files with lists are read in
``columns.py``, ``json_lists.py`` and ``trec.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import AlignmentError, OptionError, SimilarityError
from dafm_core.formats.content import RankedLists, Request
from dafm_core.formats.matching import candidate_rules, rule_hint, translate
from dafm_core.formats.readers import read
from dafm_core.ground.files import sha256_of
from dafm_core.ground.ids import Ids
from dafm_core.ground.ragged import Ragged
from dafm_core.scoring.shortlists import Candidates
from dafm_core.store.shortlist import Shortlist


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
    left_out : tuple of (int, int)
        Queries and images of the file that the dataset does not have.
    """

    columns: Ragged
    scores: NDArray[np.float64]
    n_gallery: int
    truncated_at: int | None
    left_out: tuple[int, int] = (0, 0)

    @classmethod
    def align(
        cls, frame: pl.DataFrame, dataset: Dataset, *, where: str, rule: Sequence[str] = ()
    ) -> ListedScores:
        """Return the listed scores by a dataset's rows and columns.

        Queries that the dataset does not have are left out; so are images, where every query lists
        the whole gallery besides. An excluded image may have the score -inf, and is then as good
        as not listed.

        Parameters
        ----------
        frame : polars.DataFrame
            ``query_id, image_id, score`` in any order.
        dataset : Dataset
        where : str
            Starts every message, e.g. the file.
        rule : sequence of str
            Of ``matching.RULES``, for ids that differ.

        Raises
        ------
        AlignmentError
            If an id is unknown, a candidate stands twice in a list, or a query has no list.
        SimilarityError
            If a score is NaN or infinite.
        """
        rows, n_queries = _query_rows(frame["query_id"], dataset.query_ids, rule, where=where)
        columns, n_images = _image_columns(frame["image_id"], dataset.gallery_ids, rule, where)
        scores = frame["score"].cast(pl.Float64).to_numpy()
        listed = (rows >= 0) & (columns >= 0)
        masked = np.flatnonzero(listed & np.isneginf(scores))
        listed[masked] = ~is_excluded(dataset, rows[masked], columns[masked])
        rows, columns, scores = rows[listed], columns[listed], scores[listed]
        if not np.isfinite(scores).all():
            bad = int(np.argmin(np.isfinite(scores)))
            raise SimilarityError(
                f"{where}: expected finite scores, got {scores[bad]} (query "
                f"{dataset.query_ids[rows[bad]]!r}, image {dataset.gallery_ids[columns[bad]]!r}). "
                "Leave such lines out."
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
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        ragged = Ragged(offsets, columns)
        truncated = _truncated_at(ragged, dataset)
        if n_images and truncated is not None:
            names = set(frame["image_id"].unique().to_list()) - set(dataset.gallery_ids)
            raise AlignmentError(
                f"{where}: {n_images} image ids are unknown to the store, e.g. {min(names)!r}. Is "
                "it the same split? Leave them out, or load the dataset that has them."
            )
        empty = (counts == 0) & (dataset.excluded.counts < dataset.n_gallery)
        if empty.any():
            raise AlignmentError(
                f"{where}: no list for query {dataset.query_ids[int(np.argmax(empty))]!r} "
                f"({int(empty.sum())} of {dataset.n_queries} are missing)."
            )
        return cls(
            columns=ragged,
            scores=scores,
            n_gallery=dataset.n_gallery,
            truncated_at=truncated,
            left_out=(n_queries, n_images),
        )

    def shortlist(self, dtype: str = "float32") -> Shortlist:
        """Return the scores as they are stored, rounded to a dtype."""
        with np.errstate(over="ignore"):
            rounded = self.scores.astype(dtype).astype(np.float32)
        return Shortlist(self.columns.offsets, self.columns.values, rounded, self.n_gallery)

    def collapsed(self, start: int, stop: int, dtype: str) -> int:
        """Return how many different scores of rows ``start:stop`` become equal in a dtype."""
        rows = range(start, stop)
        cells = (self.scores[self.columns.offsets[r] : self.columns.offsets[r + 1]] for r in rows)
        return sum(len(np.unique(c)) - len(np.unique(c.astype(dtype))) for c in cells)


def candidates_of_run(path: str | Path, dataset: Dataset) -> Candidates:
    """Return the candidates that a file lists for each query, best first: a shortlist to score.

    Raises
    ------
    DafmError
        As for :func:`~dafm_core.formats.importing.import_scores`.
    """
    content = read(Path(path), Request())
    if not isinstance(content, RankedLists):
        raise OptionError(f"{path}: expected lists of candidates, got a matrix. Use a TREC run.")
    listed = ListedScores.align(content.frame, dataset, where=str(path))
    shortlist = listed.shortlist()
    columns = []
    for row, cells in enumerate(listed.columns):
        start, stop = shortlist.offsets[row : row + 2]
        order = np.argsort(-listed.scores[start:stop], kind="stable")
        columns.append(cells[order][~np.isin(cells[order], dataset.excluded[row])])
    facts = {"from": "run", "file": Path(path).name, "file_sha256": sha256_of(path)}
    return Candidates(columns=tuple(columns), facts=facts)


def _truncated_at(columns: Ragged, dataset: Dataset) -> int | None:
    left_out = np.array(
        [
            dataset.n_gallery - len(np.union1d(listed, excluded))
            for listed, excluded in zip(columns, dataset.excluded, strict=True)
        ]
    )
    short = columns.counts[left_out > 0]
    return int(short.min()) if len(short) else None


def is_excluded(
    dataset: Dataset, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return whether each cell is one that the protocol excludes."""
    width = dataset.n_gallery
    return np.isin(rows * width + columns, dataset.excluded.rows * width + dataset.excluded.values)


def _query_rows(
    series: pl.Series, wanted: Sequence[str], rule: Sequence[str], *, where: str
) -> tuple[NDArray[np.int64], int]:
    """Return each line's row, -1 for another query, and how many other queries there are."""
    listed = series.unique(maintain_order=True).to_list()
    names = {name: name for name in listed}
    for tried in ((), rule):
        names = translate(listed, wanted, tried)
        if len(names) == len(wanted):
            break
    else:
        unknown = [name for name in listed if name not in set(wanted)]
        if unknown:
            rules = (
                r for r in candidate_rules() if len(translate(listed, wanted, r)) == len(wanted)
            )
            raise AlignmentError(
                f"{where}: {len(unknown)} query ids are unknown to the store, e.g. {unknown[0]!r}"
                f"{rule_hint(next(rules, None), unknown)}"
            )
        names = {name: name for name in listed}
    return _positions(series, names, wanted), len(listed) - len(names)


def _image_columns(
    series: pl.Series, wanted: Sequence[str], rule: Sequence[str], where: str
) -> tuple[NDArray[np.int64], int]:
    """Return each line's column, -1 for another image, and how many other images there are."""
    listed = series.unique(maintain_order=True).to_list()
    known = set(wanted)
    unknown = [name for name in listed if name not in known]
    if not unknown:
        return _positions(series, {name: name for name in listed}, wanted), 0
    names = translate(listed, wanted, rule) if rule else {}
    if not names:
        rules = (r for r in candidate_rules() if len(translate(listed, wanted, r)) == len(listed))
        if (hint := next(rules, None)) is not None:
            raise AlignmentError(
                f"{where}: {len(unknown)} image ids are unknown to the store, e.g. {unknown[0]!r}"
                f"{rule_hint(hint, unknown)}"
            )
        names = {name: name for name in listed if name in known}
    return _positions(series, names, wanted), len(listed) - len(names)


def _positions(
    series: pl.Series, names: Mapping[str, str], wanted: Sequence[str]
) -> NDArray[np.int64]:
    """Return where the name that stands for each id is among ``wanted``, -1 where there is none."""
    ids = Ids(wanted)
    known = pl.DataFrame(
        {"id": list(names), "position": ids.positions(names.values())},
        schema={"id": pl.String, "position": pl.Int64},
    )
    lines = series.to_frame("id").join(known, on="id", how="left", maintain_order="left")
    return lines["position"].fill_null(-1).to_numpy()
