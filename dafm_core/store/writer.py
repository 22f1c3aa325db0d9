"""Writing one provider's folder of a store: block by block, resumable, whole when its passport is.

The passport is the manifest: it is written last, and hashes every file beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import SimilarityError, StoreError
from dafm_core.ground.blocks import BlockFile, checksum
from dafm_core.ground.files import replacing, sha256_of, write_json, write_text
from dafm_core.ground.ragged import Ragged
from dafm_core.store.manifest import FORMAT_VERSION, sealed, shared_facts
from dafm_core.store.shortlist import Shortlist, Unknown, write_shortlist

DENSE_FILES = (
    "scores.npy",
    "scores.partial.npy",
    "scores.progress.jsonl",
    "neighbours.npy",
    "cost.json",
)
"""What shortlists of the same name replace."""


class ScoreWriter:
    """Writes one provider's matrix; made by ``SimilarityStore.writer``.

    Parameters
    ----------
    folder : Path
        The provider's; its name is the provider's.
    shape : (int, int)
        Queries and candidates.
    excluded : Ragged of n_queries rows
        Cells in which a score may be -inf, since the protocol removes them.
    shared : mapping
        What ties the folder to its store: protocol and hashes.
    passport : mapping
        JSON values that say where the scores come from.
    existing : mapping or None
        Passport of a finished matrix of that name.
    dtype, block_rows, overwrite
        As for ``SimilarityStore.writer``.

    Attributes
    ----------
    complete : bool
        Whether the same matrix is in the store already, and nothing is to be done.
    """

    def __init__(
        self,
        folder: Path,
        *,
        shape: tuple[int, int],
        excluded: Ragged,
        shared: Mapping[str, Any],
        passport: Mapping[str, Any],
        existing: Mapping[str, Any] | None,
        dtype: str,
        block_rows: int,
        overwrite: bool,
    ) -> None:
        self._folder = folder
        self._name = folder.name
        self._shape = shape
        self._excluded = excluded
        self._dtype = np.dtype(dtype)
        self._passport: dict[str, Any] = {
            "format": FORMAT_VERSION,
            "provider": self._name,
            "direction": "similarity",
            **passport,
            **shared,
            "dtype": dtype,
            "block_rows": block_rows,
        }
        self._passport = json.loads(json.dumps(self._passport))
        self._neighbours: NDArray[np.int32] | None = None
        self._cost: dict[str, Any] = {}
        self.complete = existing is not None and not overwrite
        if existing is not None and not overwrite:
            check_same(folder.parent, self._name, self._passport, existing)
        log, partial = folder / "scores.progress.jsonl", folder / "scores.partial.npy"
        if existing is not None and not partial.exists():
            log.unlink(missing_ok=True)  # killed after the passport was written
        self._file = BlockFile(
            folder / "scores.npy",
            n_rows=shape[0],
            block_rows=block_rows,
            identity=self._passport,
            restart=overwrite,
        )

    def pending(self) -> list[tuple[int, int]]:
        """Return the (start, stop) rows of every block still to be written."""
        return [] if self.complete else self._file.pending()

    def write(self, start: int, scores: NDArray[Any]) -> None:
        """Check one block of rows, then put it on disk.

        Raises
        ------
        SimilarityError
            For a wrong shape, a NaN or an infinite score (but -inf where the protocol excludes the
            candidate), or a float16 overflow; names the provider and the first cell. Nothing of
            the block is written.
        StoreError
            If there is no room on the disk; finished blocks are kept.
        """
        stop = min(start + self._file.block_rows, self._shape[0])
        expected = (stop - start, self._shape[1])
        if scores.shape != expected:
            raise SimilarityError(
                f"provider {self._name!r}: expected similarity of shape {expected} for queries "
                f"{start}:{stop}, got {scores.shape}. Rows follow queries, columns the gallery."
            )
        with np.errstate(over="ignore"):
            rows = np.asarray(scores).astype(self._dtype)
        wrong = ~np.isfinite(rows)
        cells = self._excluded.part(slice(start, stop))
        wrong[cells.rows, cells.values] &= ~np.isneginf(rows[cells.rows, cells.values])
        if wrong.any():
            row, column = (int(i[0]) for i in np.nonzero(wrong))
            raise SimilarityError(
                f"provider {self._name!r}: expected finite {self._dtype} scores, got "
                f"{rows[row, column]} for query {start + row}, candidate {column} (from 0). "
                "Repair the model, or leave the query out."
            )
        try:
            self._file.write(start, rows, tied_cells=count_tied(rows))
        except OSError as error:
            raise StoreError(
                f"{self._folder}: cannot be written ({error.strerror or error}). Finished blocks "
                "are kept: make room and repeat the command to resume."
            ) from None

    def add_neighbours(self, neighbours: NDArray[np.int32] | None) -> None:
        """Keep each candidate's nearest other candidates beside the matrix, (n_gallery, M)."""
        self._neighbours = neighbours

    def add_cost(self, **cost: Any) -> None:
        """Keep what scoring took beside the matrix."""
        self._cost |= cost

    def finish(self) -> None:
        """Give everything its name if every block is there, else leave what can be resumed."""
        if self.complete:
            return
        if self._file.pending():
            self.leave()
            return
        # Without a passport the folder counts as unfinished, until it is written again below.
        (self._folder / "passport.json").unlink(missing_ok=True)
        self._file.commit()
        files = {}
        if self._neighbours is None:
            (self._folder / "neighbours.npy").unlink(missing_ok=True)
        else:
            with replacing(self._folder / "neighbours.npy") as temporary:
                np.save(temporary, self._neighbours)
            files["neighbours.npy"] = sha256_of(self._folder / "neighbours.npy")
        (self._folder / "shortlist.parquet").unlink(missing_ok=True)
        if self._cost:
            write_json(self._folder / "cost.json", self._cost)
        else:
            (self._folder / "cost.json").unlink(missing_ok=True)
        blocks = [
            {"start": block.start, "stop": block.stop, "sha256": block.sha256, **block.facts}
            for block in self._file.blocks
        ]
        tied = sum(block["tied_cells"] for block in blocks) / (self._shape[0] * self._shape[1])
        passport = {**self._passport, "tied_share": round(tied, 6), "files": files}
        write_json(self._folder / "passport.json", sealed({**passport, "blocks": blocks}))
        self._file.forget()

    def leave(self) -> None:
        """Remove a folder in which nothing was recorded; leave any other as it is."""
        if not self._file.blocks and self._folder.exists() and not any(self._folder.iterdir()):
            self._folder.rmdir()


def reopen(folder: Path, passport: Mapping[str, Any]) -> None:
    """Make a finished matrix an interrupted one again, of which only damaged blocks are missing.

    The next writer checks each block against its checksum, and writes those that do not match.
    Killed in between, the folder is the finished matrix or the interrupted one.
    """
    counted = ("tied_share", "files", "blocks", "sha256")
    identity = {key: value for key, value in passport.items() if key not in counted}
    blocks = [
        {
            "start": block["start"],
            "stop": block["stop"],
            "sha256": block["sha256"],
            "facts": {"tied_cells": block["tied_cells"]},
        }
        for block in passport["blocks"]
    ]
    lines = [json.dumps(line, ensure_ascii=False) for line in ({"identity": identity}, *blocks)]
    write_text(folder / "scores.progress.jsonl", "\n".join(lines) + "\n")
    (folder / "passport.json").unlink()


def check_same(
    store: Path, name: str, mine: Mapping[str, Any], existing: Mapping[str, Any]
) -> None:
    """Raise StoreError if a finished provider's passport differs in what was to be written."""
    differ = [
        key
        for key, value in mine.items()
        if key not in ("block_rows", "format") and existing.get(key) != value
    ]
    if differ:
        option = "--provider" if mine.get("source") == "imported" else "--as"
        raise StoreError(
            f"{store}: provider {name!r} is there, and differs in {', '.join(sorted(differ))}. "
            f"Store this one under {option} NAME, or replace it with --overwrite."
        )


def shortlist_passport(
    name: str,
    shortlist: Shortlist,
    unknown: Unknown,
    passport: Mapping[str, Any],
    dataset: Dataset,
) -> dict[str, Any]:
    """Return the passport of a provider with shortlists, without files and seal."""
    counts = shortlist.counts
    facts = {
        "format": FORMAT_VERSION,
        "provider": name,
        "direction": "similarity",
        **passport,
        **shared_facts(dataset),
        "kind": "shortlist",
        "unknown": unknown,
        "dtype": "float32",
        "n_listed": int(counts.sum()),
        "shortest": int(counts.min()) if len(counts) else 0,
        "tied_share": 0.0,
        "scores_sha256": checksum(shortlist.scores),
        "columns_sha256": checksum(shortlist.columns),
        "blocks": [],
    }
    known: dict[str, Any] = json.loads(json.dumps(facts))
    return known


def put_shortlist(
    folder: Path,
    shortlist: Shortlist,
    dataset: Dataset,
    passport: Mapping[str, Any],
    cost: Mapping[str, Any] | None,
) -> None:
    """Make a provider's folder hold shortlists, in place of whatever it held."""
    (folder / "passport.json").unlink(missing_ok=True)
    write_shortlist(folder / "shortlist.parquet", shortlist, dataset)
    for stale in DENSE_FILES:
        (folder / stale).unlink(missing_ok=True)
    if cost:
        write_json(folder / "cost.json", dict(cost))
    files = {"shortlist.parquet": sha256_of(folder / "shortlist.parquet")}
    write_json(folder / "passport.json", sealed({**passport, "files": files}))


MANY: Final = 4096
"""Scores of a row from which each of the 65,536 float16 numbers is counted, and none sorted."""


def count_tied(rows: NDArray[Any]) -> int:
    """Count cells that share their score with another cell of their row."""
    if rows.shape[1] < 2:
        return 0
    # Equal scores have equal bits, but for -0; whole numbers are counted and sorted fastest.
    bits = np.ascontiguousarray(rows).view(f"u{rows.dtype.itemsize}")
    zero, negative_zero = bits.dtype.type(0), bits.dtype.type(1 << (8 * bits.itemsize - 1))
    bits = np.where(bits == negative_zero, zero, bits)
    if bits.itemsize == 2 and rows.shape[1] >= MANY:
        times = (np.bincount(row, minlength=1 << 16) for row in bits)
        return sum(int(t.sum(where=t > 1)) for t in times)
    bits.sort(axis=1)
    same = bits[:, 1:] == bits[:, :-1]  # (B, N - 1)
    begins = same.copy()
    begins[:, 1:] &= ~same[:, :-1]
    return int(np.count_nonzero(same) + np.count_nonzero(begins))
