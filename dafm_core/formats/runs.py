"""Fused scores as files for other tools: a matrix, a table of the best candidates, a TREC run.

Written block by block and atomically. Excluded candidates are left out of lists and are -inf in a
matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from dafm_core.errors import OptionError, closest
from dafm_core.formats.arrays import SIDECARS
from dafm_core.formats.fitted import FusedBlocks, ListBlock, fitted_text
from dafm_core.fusion.best import Best
from dafm_core.ground.files import replacing_with, reserve
from dafm_core.ground.ordering import tie_places
from dafm_core.ground.printable import printable

DEPTH = 100
"""Candidates per query in a list, by default."""


def write_run(
    path: str | Path,
    blocks: Iterable[ListBlock],
    *,
    query_ids: Sequence[str],
    gallery_ids: Sequence[str],
    name: str = "dafm",
    depth: int = DEPTH,
) -> Path:
    """Write fused scores in the format of the suffix.

    Parameters
    ----------
    path : path
        ``.npy``: the whole matrix, (n_queries, n_gallery) float32, with ``.queries.txt`` and
        ``.gallery.txt`` beside it for its ids. ``.parquet``: query_id, image_id, rank, score.
        ``.trec``: a TREC run.
    blocks : iterable of (query ids, scores or lists)
        A matrix needs scores. In the order of ``query_ids``; those of a fusion fitted on any of
        these queries, or with a score for each ranking, leave ids and head in a file beside, see
        ``fitted.py``.
    query_ids, gallery_ids : sequence of str
    name : str
        Tag of a TREC run.
    depth : int
        Candidates per query in a list; a matrix has all.

    Raises
    ------
    OptionError
        For another suffix, a depth below one, or an id with white space in a TREC run.
    """
    path = Path(path)
    writers: dict[str, Callable[[Path], None]] = {
        ".npy": lambda out: _write_matrix(out, blocks, (len(query_ids), len(gallery_ids))),
        ".parquet": lambda out: pl.concat(best(blocks, gallery_ids, depth)).write_parquet(out),
        ".trec": lambda out: _write_trec(out, best(blocks, gallery_ids, depth), _tag(name)),
    }
    if path.suffix not in writers:
        raise OptionError(f"{path}: no format {path.suffix!r}{closest(path.suffix, writers)}")
    if depth < 1:
        raise OptionError(f"{path}: expected a depth of at least 1, got {depth}.")
    if path.suffix != ".parquet":
        _check_ids(path, query_ids, gallery_ids)
    head = blocks.head if isinstance(blocks, FusedBlocks) else None
    beside = fitted_text(path, blocks, query_ids, head=head)
    if path.suffix == ".npy":
        for suffix, ids in zip(SIDECARS.values(), (query_ids, gallery_ids), strict=True):
            beside[path.with_suffix(suffix)] = "".join(f"{i}\n" for i in ids)
    with replacing_with(path, beside) as temporary:
        writers[path.suffix](temporary)
    return path


def _check_ids(path: Path, query_ids: Sequence[str], gallery_ids: Sequence[str]) -> None:
    """Raise OptionError at an id that a text file, one a line, would not give back."""
    is_run = path.suffix == ".trec"
    kind = "a TREC run" if is_run else "a list of ids"
    for name in (*query_ids, *gallery_ids):
        words = name.split() if is_run else [name.strip()]
        if words != [name] or not name or "\n" in name or "\ufeff" in name:
            raise OptionError(f"{path}: {kind} cannot hold the id {name!r}. Use .parquet.")


def best(
    blocks: Iterable[ListBlock], gallery_ids: Sequence[str], depth: int
) -> Iterator[pl.DataFrame]:
    """Yield query_id, image_id, rank (from 1) and score of the best, a frame per block."""
    places = tie_places(gallery_ids)
    images = np.asarray(gallery_ids, dtype=object)
    for query_ids, found in blocks:
        found = found if isinstance(found, Best) else Best.of_scores(found, places, depth)
        lists = [row[row >= 0][:depth] for row in found.columns]
        yield pl.DataFrame(
            {
                "query_id": [q for q, own in zip(query_ids, lists, strict=True) for _ in own],
                "image_id": [i for own in lists for i in images[own]],
                "rank": [rank for own in lists for rank in range(1, len(own) + 1)],
                "score": np.concatenate(
                    [row[: len(own)] for own, row in zip(lists, found.scores, strict=True)]
                ),
            },
            schema={
                "query_id": pl.String,
                "image_id": pl.String,
                "rank": pl.Int32,
                "score": pl.Float32,
            },
        )


def _tag(name: str) -> str:
    """Return a name as one word of a TREC run."""
    return "-".join(printable(name).split()) or "dafm"


def _write_matrix(out: Path, blocks: Iterable[ListBlock], shape: tuple[int, int]) -> None:
    """Write the matrix through a file: a disk that is full is an error, and through a map it would
    end the process.
    """
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)),
        "fortran_order": False,
        "shape": shape,
    }
    with out.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        reserve(file, file.tell() + 4 * math.prod(shape))
        for _, scores in blocks:
            if isinstance(scores, Best):
                raise OptionError(f"{out}: a matrix needs whole rows, and these are lists.")
            file.write(np.ascontiguousarray(scores, np.float32).data)


def _write_trec(out: Path, frames: Iterable[pl.DataFrame], name: str) -> None:
    with out.open("w", encoding="utf-8") as file:
        for frame in frames:
            for query, image, rank, score in frame.iter_rows():
                file.write(f"{query} Q0 {image} {rank} {score:.9g} {name}\n")
