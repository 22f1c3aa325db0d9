"""Matrices made elsewhere become providers of a store: aligned by id, checked, then written.

Whole matrices (npy, npz, pt, safetensors, wide parquet), lists of the best candidates (TREC runs,
long parquet, CIRR and CIRCO submission files), and features that a cosine or a dot product turns
into a matrix. Everything is checked before the first row is written, so that bad input leaves the
store as it was; rows are read and written block by block. The formats themselves are read in
``matrix_files.py`` and ``ranked_lists.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import OptionError, SimilarityError, SubmissionError, closest
from dafm_core.formats.alignment import ProductRows, align_features, align_matrix, with_ids
from dafm_core.formats.lists import ListedScores, read_submission, read_trec_run
from dafm_core.formats.matrices import MATRIX_SUFFIXES, read_array
from dafm_core.scoring.neighbours import nearest_neighbours
from dafm_core.store.store import SimilarityStore
from dafm_core.wrapping.checkpoints import sha256_of

Direction = Literal["similarity", "distance"]
Measure = Literal["cosine", "dot"]
TREC_SUFFIXES: Final = (".trec", ".run", ".txt")
SUFFIXES: Final = (*MATRIX_SUFFIXES, *TREC_SUFFIXES, ".json")
LONG_COLUMNS: Final = ("query_id", "image_id", "score")
BLOCK_ROWS: Final = 256


class Rows(Protocol):
    """Scores of a store's queries against its gallery, a few rows at a time."""

    def rows(self, start: int, stop: int, dtype: str) -> NDArray[Any]:
        """Return scores ``(stop - start, n_gallery)``."""
        ...


def import_scores(
    store: SimilarityStore,
    name: str,
    path: str | Path,
    *,
    key: str | None = None,
    query_ids: str | Path | None = None,
    gallery_ids: str | Path | None = None,
    direction: Direction = "similarity",
    facts: Mapping[str, str] | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
) -> None:
    """Put scores made elsewhere into a store as the provider ``name``.

    Parameters
    ----------
    store : SimilarityStore
        Made for the dataset the scores belong to.
    name : str
    path : path
        By suffix: ``.npy .npz .pt .pth .safetensors`` a matrix; ``.parquet`` a wide table (query_id
        and a column per image) or a long one (query_id, image_id, score); ``.trec .run .txt`` a
        TREC run; ``.json`` a CIRR or CIRCO submission file.
    key : str, optional
        Which array, where a file holds several.
    query_ids, gallery_ids : path, optional
        Text files with the ids of a matrix's rows and columns, one a line. Without them, and
        without ids in the file (``query_ids``, ``gallery_ids``), rows and columns must be in the
        store's order.
    direction : {"similarity", "distance"}
        Distances are negated.
    facts : mapping of str, optional
        What decides the scores, for the passport's fingerprint, e.g. model, checkpoint sha256, text
        template; the same for every split of one model, unlike the file, which stands beside it.
    dtype : {"float32", "float16"}
    overwrite : bool

    Raises
    ------
    AlignmentError
        If ids are unknown, missing or stand twice.
    SimilarityError
        If the file cannot be read, or holds another shape, NaN or infinite scores.
    OptionError
        For an unknown suffix, key or direction, or id lists for a file that has ids.
    SubmissionError
        If a submission file is malformed, or ranks subsets only.
    StoreError
        If the name is taken.

    Notes
    -----
    A list that leaves candidates out (a top 50, say) says nothing of their order. They all tie
    one mean step of the list below its lowest score, so recall@K for K beyond the list is the
    expectation over a random order among them. The passport has the length of the shortest such
    list as ``truncated_at``. Files that hold ranks only get minus the rank as score.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise OptionError(f"{path}: no format {suffix!r}{closest(suffix, SUFFIXES)}")
    if direction not in ("similarity", "distance"):
        raise OptionError(
            f"import: direction {direction!r}{closest(direction, ('similarity', 'distance'))}"
        )
    sign = -1.0 if direction == "distance" else 1.0
    rows: Rows
    if is_list(path):
        if key or query_ids or gallery_ids:
            raise OptionError(f"{path}: holds lists with ids; leave key and id files out.")
        rows = _read_lists(path, store.dataset, sign)
    else:
        array = with_ids(read_array(path, key=key), query_ids, gallery_ids)
        rows = align_matrix(array, store.dataset, sign=sign)
    passport: dict[str, Any] = {
        "source": "imported",
        "fingerprint": dict(facts or {}),
        "options": {"direction": direction},
        "files": {"scores": _file_facts(path, key)},
    }
    if isinstance(rows, ListedScores):
        passport["truncated_at"] = rows.truncated_at
    _write(store, name, rows, passport, dtype=dtype, overwrite=overwrite)


def import_features(
    store: SimilarityStore,
    name: str,
    queries: str | Path,
    gallery: str | Path,
    *,
    measure: Measure = "cosine",
    query_key: str | None = None,
    gallery_key: str | None = None,
    query_ids: str | Path | None = None,
    gallery_ids: str | Path | None = None,
    facts: Mapping[str, str] | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
) -> None:
    """Put the similarities of features made elsewhere into a store as the provider ``name``.

    Parameters
    ----------
    store : SimilarityStore
    name : str
    queries : path
        Features of the composed queries, (n_queries, D): npy, npz, pt or safetensors. Ids as in
        :func:`import_scores`, or called ``ids`` in the file.
    gallery : path
        Features of the candidates, (n_gallery, D).
    measure : {"cosine", "dot"}
    query_key, gallery_key : str, optional
        Which array, where a file holds several.
    query_ids, gallery_ids, facts, dtype, overwrite
        As for :func:`import_scores`.

    Raises
    ------
    AlignmentError, SimilarityError, OptionError, StoreError
        As for :func:`import_scores`; SimilarityError also where widths differ or a vector is zero
        under ``cosine``.
    """
    if measure not in ("cosine", "dot"):
        raise OptionError(f"import: measure {measure!r}{closest(measure, ('cosine', 'dot'))}")
    paths = (Path(queries), Path(gallery))
    dataset, unit = store.dataset, measure == "cosine"
    array = with_ids(read_array(paths[0], key=query_key, features=True), query_ids, None)
    asked = align_features(array, dataset.query_ids, what="query", unit=unit)
    array = with_ids(read_array(paths[1], key=gallery_key, features=True), gallery_ids, None)
    offered = align_features(array, dataset.gallery_ids, what="image", unit=unit)
    if asked.shape[1] != offered.shape[1]:
        raise SimilarityError(
            f"{paths[0]}: expected features of the gallery's width {offered.shape[1]}, got "
            f"{asked.shape[1]}."
        )
    passport = {
        "source": "imported",
        "fingerprint": dict(facts or {}),
        "options": {"measure": measure},
        "files": {
            "queries": _file_facts(paths[0], query_key),
            "gallery": _file_facts(paths[1], gallery_key),
        },
    }
    _write(
        store,
        name,
        ProductRows(asked, offered),
        passport,
        dtype=dtype,
        overwrite=overwrite,
        features=offered,
    )


def is_list(path: Path) -> bool:
    """Whether a file holds lists of candidates rather than a matrix."""
    if path.suffix.lower() != ".parquet":
        return path.suffix.lower() in (*TREC_SUFFIXES, ".json")
    try:
        return set(LONG_COLUMNS) == set(pl.read_parquet_schema(path))
    except (OSError, pl.exceptions.PolarsError):
        return False  # read_array says what is wrong with it


def _file_facts(path: Path, key: str | None) -> dict[str, str]:
    facts = {"name": path.name, "sha256": sha256_of(path)}
    return facts if key is None else {**facts, "key": key}


def _read_lists(path: Path, dataset: Dataset, sign: float) -> ListedScores:
    if path.suffix.lower() == ".json":
        lists = read_submission(path)
        if lists.metric == "recall_subset":
            raise SubmissionError(
                f"{path}: ranks each query's subset only, which says nothing of the gallery. "
                "Import the file with metric 'recall'."
            )
        if sign < 0:
            raise OptionError(f"{path}: holds ranks, best first; leave direction out.")
        frame = lists.frame()
    elif path.suffix.lower() == ".parquet":
        frame = _read_long(path)
    else:
        frame = read_trec_run(path)
    return ListedScores.align(frame.with_columns(pl.col("score") * sign), dataset, where=str(path))


def _read_long(path: Path) -> pl.DataFrame:
    try:
        ids = pl.col("query_id", "image_id").cast(pl.String)
        return pl.read_parquet(path).select(ids, pl.col("score").cast(pl.Float64))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SimilarityError(f"{path}: cannot be read ({error}).") from None


def _write(
    store: SimilarityStore,
    name: str,
    rows: Rows,
    passport: Mapping[str, Any],
    *,
    dtype: str,
    overwrite: bool,
    features: NDArray[np.float32] | None = None,
) -> None:
    """Check every block, then write every block."""
    dataset = store.dataset
    for start, stop in _blocks(dataset.n_queries):
        _check_finite(rows.rows(start, stop, dtype), start, dataset, name)
    with store.writer(
        name, passport=passport, dtype=dtype, block_rows=BLOCK_ROWS, overwrite=overwrite
    ) as writer:
        for start, stop in writer.pending():
            writer.write(start, rows.rows(start, stop, dtype))
        if features is not None:
            writer.add_neighbours(nearest_neighbours(features))


def _blocks(n_rows: int) -> Iterator[tuple[int, int]]:
    starts = range(0, n_rows, BLOCK_ROWS)
    return ((start, min(start + BLOCK_ROWS, n_rows)) for start in starts)


def _check_finite(block: NDArray[Any], start: int, dataset: Dataset, name: str) -> None:
    bad = np.argwhere(~np.isfinite(block))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise SimilarityError(
            f"provider {name!r}: expected finite {block.dtype} scores, got {block[row, column]} "
            f"for query {dataset.query_ids[start + row]!r}, image {dataset.gallery_ids[column]!r}."
        )
