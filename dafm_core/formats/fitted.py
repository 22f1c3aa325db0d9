"""What a file of fused scores cannot say itself: which of its queries the fusion was fitted on, and
which ranking its scores are for.

The formats are other tools', so both stand in a file beside it: ``run.trec.fitted.json``. Without
the ids a run on training queries would be measured as if it were held out; without the head, scores
that were learned for subsets would be taken for the gallery's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import DatasetError
from dafm_core.fusion.best import Best
from dafm_core.ground.sources import source_json
from dafm_core.metrics.families import Head

ScoreBlock: TypeAlias = tuple[Sequence[str], NDArray[np.float32]]
"""Query ids and their scores, (B, N); -inf where a candidate is excluded."""

ListBlock: TypeAlias = tuple[Sequence[str], NDArray[np.float32] | Best]
"""Query ids and their scores, or the lists that are all that is wanted of those."""


@dataclass(frozen=True)
class FusedBlocks:
    """Blocks of fused scores that know which queries the fusion was fitted on; read once.

    Parameters
    ----------
    blocks : iterable of (query ids, scores or lists)
    fitted_query_ids : frozenset of str
        Queries whose targets the fusion has seen.
    head : {"gallery", "subset"}, optional
        What the scores rank, of a fusion that has a score for each.
    """

    blocks: Iterable[ListBlock] = field(repr=False)
    fitted_query_ids: frozenset[str] = field(default=frozenset(), repr=False)
    head: Head | None = None

    def __iter__(self) -> Iterator[ListBlock]:
        return iter(self.blocks)


def fitted_path(path: str | Path) -> Path:
    """Return where the ids that go with a file stand."""
    path = Path(path)
    return path.with_name(f"{path.name}.fitted.json")


def fitted_text(
    path: str | Path,
    blocks: Iterable[ListBlock],
    query_ids: Iterable[str],
    *,
    head: Head | None = None,
) -> dict[Path, str | None]:
    """Return what is to stand beside a file of scores, for :func:`ground.files.replacing_with`.

    Parameters
    ----------
    path : path
        The file of scores.
    blocks : iterable of (query ids, scores)
        What the file is written from; plain blocks are taken for held out.
    query_ids : iterable of str
        Queries in the file.
    head : {"gallery", "subset"}, optional
        To be written where the file's form does not say it.

    Returns
    -------
    dict of Path to str or None
        The ids of those queries that the fusion was fitted on, and its head; None, no file, where
        there is neither.
    """
    known = blocks.fitted_query_ids if isinstance(blocks, FusedBlocks) else frozenset()
    fitted = sorted(known.intersection(query_ids))
    said: dict[str, Any] = {"fitted_query_ids": fitted} if fitted else {}
    if head is not None:
        said["head"] = head
    text = json.dumps(said, indent=1, ensure_ascii=False) + "\n"
    return {fitted_path(path): text if said else None}


def read_fitted(path: str | Path) -> frozenset[str]:
    """Return the queries that a file's fusion was fitted on; none where nothing says so.

    Raises
    ------
    DatasetError
        If the file beside it is damaged.
    """
    return _read(path)[0]


def read_head(path: str | Path) -> Head | None:
    """Return which ranking a file's scores are for, where the file beside it says so.

    Errors as :func:`read_fitted`.
    """
    return _read(path)[1]


def _read(path: str | Path) -> tuple[frozenset[str], Head | None]:
    beside = fitted_path(path)
    if not beside.exists():
        return frozenset(), None
    try:
        said = source_json(beside)
        ids, head = said.get("fitted_query_ids", []), said.get("head")
        if not said.keys() & {"fitted_query_ids", "head"}:
            raise KeyError("fitted_query_ids")
        if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
            raise TypeError("an id is no text")
        if head is not None and head not in get_args(Head):
            raise ValueError(f"head {head!r} is neither gallery nor subset")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{beside}: expected the ids that {Path(path).name} was fitted on ({error}). "
            "Fuse again."
        ) from None
    return frozenset(ids), head
