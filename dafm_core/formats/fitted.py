"""What a file of fused scores cannot say itself: which of its queries the fusion was fitted on.

The formats are other tools', so the ids stand in a file beside it: ``run.trec.fitted.json``.
Without them a run on training queries would be measured as if it were held out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import DatasetError
from dafm_core.ground.sources import source_json

ScoreBlock: TypeAlias = tuple[Sequence[str], NDArray[np.float32]]
"""Query ids and their scores, (B, N); -inf where a candidate is excluded."""


@dataclass(frozen=True)
class FusedBlocks:
    """Blocks of fused scores that know which queries the fusion was fitted on; read once.

    Parameters
    ----------
    blocks : iterable of (query ids, scores)
    fitted_query_ids : frozenset of str
        Queries whose targets the fusion has seen.
    """

    blocks: Iterable[ScoreBlock] = field(repr=False)
    fitted_query_ids: frozenset[str] = field(default=frozenset(), repr=False)

    def __iter__(self) -> Iterator[ScoreBlock]:
        return iter(self.blocks)


def fitted_path(path: str | Path) -> Path:
    """Return where the ids that go with a file stand."""
    path = Path(path)
    return path.with_name(f"{path.name}.fitted.json")


def fitted_text(
    path: str | Path, blocks: Iterable[ScoreBlock], query_ids: Iterable[str]
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

    Returns
    -------
    dict of Path to str or None
        The ids of those queries that the fusion was fitted on; None, no file, where there are none.
    """
    known = blocks.fitted_query_ids if isinstance(blocks, FusedBlocks) else frozenset()
    fitted = sorted(known.intersection(query_ids))
    text = json.dumps({"fitted_query_ids": fitted}, indent=1, ensure_ascii=False) + "\n"
    return {fitted_path(path): text if fitted else None}


def read_fitted(path: str | Path) -> frozenset[str]:
    """Return the queries that a file's fusion was fitted on; none where nothing says so.

    Raises
    ------
    DatasetError
        If the file beside it is damaged.
    """
    beside = fitted_path(path)
    if not beside.exists():
        return frozenset()
    try:
        ids = source_json(beside)["fitted_query_ids"]
        if not all(isinstance(name, str) for name in ids):
            raise TypeError("an id is no text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{beside}: expected the ids that {Path(path).name} was fitted on ({error}). "
            "Fuse again."
        ) from None
    return frozenset(ids)
