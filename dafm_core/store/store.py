"""The similarity store: one portable folder that holds K frozen models' scores and all that
evaluation needs.

    STORE/store.json           format version, protocol, hashes of ids and texts, metrics
    STORE/queries.parquet      query_id, reference, text, group, targets, subset, excluded
    STORE/gallery.parquet      image_id
    STORE/NAME/scores.npy      (n_queries, n_gallery), C order, float32 or float16; numpy.load
    reads it
    STORE/NAME/passport.json   where the scores come from, and a checksum per block of rows
    STORE/NAME/neighbours.npy  optional: each candidate's nearest other candidates, (n_gallery, M)
    int32
    STORE/NAME/cost.json       optional: what scoring took here; not part of the passport

Everything is written atomically and read without unpickling. How scores come about is not known
here: see ``scoring.py`` and ``importing.py``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.datasets.base import QUERY_SCHEMA, Dataset
from dafm_core.errors import SimilarityError, StoreError, closest
from dafm_core.ground.blocks import BlockFile, checksum, write_json

FORMAT_VERSION = 1
PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
SCORE_DTYPES = ("float32", "float16")


class SimilarityStore:
    """An open store. ``SimilarityStore.create`` makes one, ``SimilarityStore.open`` reads one.

    Raises
    ------
    StoreError
        If the folder is no store, is damaged, or was written by a newer version of dafm.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts = self._read_facts()

    @classmethod
    def open(cls, path: str | Path) -> SimilarityStore:
        """Open an existing store."""
        return cls(Path(path))

    @classmethod
    def create(cls, path: str | Path, dataset: Dataset) -> SimilarityStore:
        """Open the store at ``path``, made for ``dataset`` if there is none.

        Raises
        ------
        StoreError
            If there is one for another protocol, gallery or query list, or the folder holds
            something else.
        """
        path = Path(path)
        if (path / "store.json").exists():
            store = cls(path)
            store.check_dataset(dataset)
            return store
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise StoreError(
                f"{path}: expected an empty or new folder for a store. Choose another."
            )
        path.mkdir(parents=True, exist_ok=True)
        _write_parquet(dataset.queries, path / "queries.parquet")
        gallery = pl.DataFrame({"image_id": dataset.gallery_ids}, schema={"image_id": pl.String})
        _write_parquet(gallery, path / "gallery.parquet")
        facts: dict[str, Any] = {"format": FORMAT_VERSION, "metrics": list(dataset.metrics)}
        facts |= {"n_queries": dataset.n_queries, "n_gallery": dataset.n_gallery}
        write_json(path / "store.json", facts | _shared_facts(dataset))
        return cls(path)

    @classmethod
    @contextmanager
    def filling(cls, path: str | Path, dataset: Dataset) -> Iterator[SimilarityStore]:
        """As ``create``, but a store made here is removed again if nothing gets into it."""
        new = not (Path(path) / "store.json").exists()
        store = cls.create(path, dataset)
        try:
            yield store
        finally:
            if new and not any(entry.is_dir() for entry in store.path.iterdir()):
                shutil.rmtree(store.path)

    def check_dataset(self, dataset: Dataset) -> None:
        """Raise StoreError unless the store was made for this protocol, gallery, and query list."""
        for field, value in _shared_facts(dataset).items():
            if self._facts[field] != value:
                raise StoreError(
                    f"{self.path}: the store's {field} is {self._facts[field]!r}, the dataset's "
                    f"{value!r}. Use another store for another protocol."
                )

    @property
    def protocol(self) -> str:
        """Name of the protocol: dataset, split, gallery and exclusions."""
        return str(self._facts["protocol"])

    @cached_property
    def dataset(self) -> Dataset:
        """The queries, gallery and truth; without image paths."""
        try:
            queries = pl.read_parquet(self.path / "queries.parquet").select(list(QUERY_SCHEMA))
            gallery = pl.read_parquet(self.path / "gallery.parquet")["image_id"].to_list()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(f"{self.path}: queries or gallery cannot be read ({error}).") from None
        dataset = Dataset(
            protocol=self.protocol,
            gallery_ids=tuple(gallery),
            queries=queries,
            metrics=tuple(self._facts["metrics"]),
            options=self._facts["dataset_options"],
        )
        for field in ("queries_sha256", "gallery_sha256"):
            if getattr(dataset, field) != self._facts[field]:
                raise StoreError(
                    f"{self.path}: {field} does not match store.json: the ids were changed after "
                    "scoring. Restore the files, or score again into a new store."
                )
        return dataset

    @property
    def providers(self) -> tuple[str, ...]:
        """Names of the providers whose matrices are complete, sorted."""
        found = (p.parent for p in self.path.glob("*/scores.npy"))
        return tuple(sorted(p.name for p in found if (p / "passport.json").exists()))

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Names of the providers whose scoring was interrupted, sorted."""
        return tuple(sorted(p.parent.name for p in self.path.glob("*/scores.progress.json")))

    def passport(self, name: str) -> dict[str, Any]:
        """Return where a provider's matrix comes from."""
        return self._read_json(self._folder(name) / "passport.json")

    def cost(self, name: str) -> dict[str, Any]:
        """Return what scoring took, or nothing where it is not known."""
        path = self._folder(name) / "cost.json"
        return self._read_json(path) if path.exists() else {}

    def scores(self, name: str) -> NDArray[Any]:
        """Return a provider's matrix, memory-mapped, (n_queries, n_gallery)."""
        matrix = self._load(self._folder(name) / "scores.npy")
        expected = (self._facts["n_queries"], self._facts["n_gallery"])
        if matrix.shape != expected:
            raise StoreError(
                f"{self.path}: {name}/scores.npy: expected shape {expected}, got {matrix.shape}. "
                "Score it again with --overwrite."
            )
        return matrix

    def neighbours(self, name: str) -> NDArray[np.int32] | None:
        """Return each candidate's nearest other candidates, (n_gallery, M), or None."""
        path = self._folder(name) / "neighbours.npy"
        return np.asarray(self._load(path), dtype=np.int32) if path.exists() else None

    def verify(self, name: str) -> list[str]:
        """Return one line for each block of rows whose checksum does not match the passport."""
        scores = self.scores(name)
        return [
            f"{self.path}: {name}: rows {b['start']}:{b['stop']} do not match their checksum."
            for b in self.passport(name)["blocks"]
            if checksum(scores[b["start"] : b["stop"]]) != b["sha256"]
        ]

    def remove(self, name: str) -> None:
        """Delete one provider's folder."""
        with self._locked(name):
            shutil.rmtree(self._folder(name))

    @contextmanager
    def writer(
        self,
        name: str,
        *,
        passport: Mapping[str, Any],
        dtype: str = "float32",
        block_rows: int = 256,
        overwrite: bool = False,
    ) -> Iterator[ScoreWriter]:
        """Open a provider's matrix for writing, or resume it; finished when every block is written.

        Parameters
        ----------
        name : str
            ``[a-z0-9][a-z0-9-]*``.
        passport : mapping
            JSON values that say where the scores come from; two writes resume each other only
            where these agree.
        dtype : {"float32", "float16"}
        block_rows : int
            Queries per block: the unit of work that a kill can lose.
        overwrite : bool
            Replace a finished or interrupted matrix; a finished one stays until the new one is.

        Raises
        ------
        StoreError
            If the name is taken or malformed, or another process is writing it.
        """
        if not PROVIDER_NAME.fullmatch(name):
            raise StoreError(
                f"provider name {name!r}: expected lower-case letters, digits and '-'."
            )
        if dtype not in SCORE_DTYPES:
            raise StoreError(f"{name}: dtype {dtype!r}{closest(dtype, SCORE_DTYPES)}")
        with self._locked(name):
            writer = ScoreWriter(self, name, passport, dtype, block_rows, overwrite)
            try:
                yield writer
            finally:
                writer.close()

    def _folder(self, name: str) -> Path:
        if name not in self.providers:
            raise StoreError(f"{self.path}: no provider {name!r}{closest(name, self.providers)}")
        return self.path / name

    def _read_facts(self) -> dict[str, Any]:
        path = self.path / "store.json"
        if not path.exists():
            raise StoreError(
                f"{self.path}: not a similarity store (no store.json). Run dafm score first."
            )
        facts = self._read_json(path)
        version = facts.get("format")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise StoreError(
                f"{self.path}: store format {version!r} is newer than {FORMAT_VERSION}, the newest "
                "this dafm reads. Upgrade dafm-core."
            )
        expected = ("protocol", "queries_sha256", "gallery_sha256", "dataset_options")
        missing = [
            key for key in (*expected, "n_queries", "n_gallery", "metrics") if key not in facts
        ]
        if missing:
            raise StoreError(f"{path}: expected a field {missing[0]!r}. The file is damaged.")
        return facts

    def _read_json(self, path: Path) -> dict[str, Any]:
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{path}: cannot be read ({error}). Score again into a new store."
            ) from None
        if not isinstance(value, dict):
            raise StoreError(f"{path}: expected a JSON object. The file is damaged.")
        return value

    def _load(self, path: Path) -> NDArray[Any]:
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{path}: cannot be read ({error}). Score it again with --overwrite."
            ) from None
        return array

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / f".{name}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise StoreError(
                f"{self.path}: another process is writing {name!r}. Wait for it."
            ) from None
        try:
            yield
        finally:
            lock.release()


class ScoreWriter:
    """Writes one provider's matrix; made by :meth:`SimilarityStore.writer`."""

    def __init__(
        self,
        store: SimilarityStore,
        name: str,
        passport: Mapping[str, Any],
        dtype: str,
        block_rows: int,
        overwrite: bool,
    ) -> None:
        facts = store._facts
        self._shape: tuple[int, int] = (facts["n_queries"], facts["n_gallery"])
        self._name = name
        self._excluded = store.dataset.excluded
        self._folder = store.path / name
        self._dtype = np.dtype(dtype)
        shared = {key: facts[key] for key in ("protocol", "queries_sha256", "gallery_sha256")}
        self._passport = {"provider": name, "direction": "similarity", **passport, **shared}
        self._passport |= {"dtype": dtype, "block_rows": block_rows}
        self._passport |= {"dataset_options": facts["dataset_options"]}
        self._passport = json.loads(json.dumps(self._passport))
        self.complete = name in store.providers and not overwrite
        """Whether the same matrix is in the store already, and nothing is to be done."""
        if self.complete:
            self._check_same(store.passport(name))
        self._file = BlockFile(
            self._folder / "scores.npy",
            n_rows=self._shape[0],
            block_rows=block_rows,
            identity=self._passport,
            restart=overwrite,
        )
        self._neighbours: NDArray[np.int32] | None = None
        self._cost: dict[str, Any] = {}

    def pending(self) -> list[tuple[int, int]]:
        """Return the (start, stop) rows of every block still to be written."""
        return [] if self.complete else self._file.pending()

    def write(self, start: int, scores: NDArray[Any]) -> None:
        """Check one block of rows, then put it on disk.

        Raises
        ------
        SimilarityError
            For a wrong shape, a NaN or an infinite score, or a float16 overflow; names the provider
            and the first row. Nothing of the block is written.
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
        bad = ~np.isfinite(rows)
        if bad.any():  # -inf may mark what the protocol excludes, as it does in a tile
            cells = self._excluded.take(np.arange(start, stop))
            bad[cells.rows, cells.values] &= ~np.isneginf(rows[cells.rows, cells.values])
        if bad.any():
            row, column = (int(i[0]) for i in np.nonzero(bad))
            raise SimilarityError(
                f"provider {self._name!r}: expected finite {self._dtype} scores, got "
                f"{rows[row, column]} for query {start + row}, candidate {column} (from 0). "
                "Repair the model, or leave the query out."
            )
        self._file.write(start, rows, tied_cells=_count_tied(rows))

    def add_neighbours(self, neighbours: NDArray[np.int32] | None) -> None:
        """Keep each candidate's nearest other candidates beside the matrix, (n_gallery, M)."""
        self._neighbours = neighbours

    def add_cost(self, **cost: Any) -> None:
        """Keep what scoring took beside the matrix."""
        self._cost |= cost

    def close(self) -> None:
        """Finish if every block is there, else leave what can be resumed."""
        if self.complete:
            return
        if self._file.pending():
            if not self._file.blocks and self._folder.exists() and not any(self._folder.iterdir()):
                self._folder.rmdir()
            return
        (self._folder / "passport.json").unlink(
            missing_ok=True
        )  # from here to its return: unfinished
        self._file.commit()
        if self._neighbours is None:
            (self._folder / "neighbours.npy").unlink(missing_ok=True)
        else:
            temporary = self._folder / "neighbours.partial.npy"
            np.save(temporary, self._neighbours)
            temporary.replace(self._folder / "neighbours.npy")
        if self._cost:
            write_json(self._folder / "cost.json", self._cost)
        blocks = [
            {"start": block.start, "stop": block.stop, "sha256": block.sha256, **block.facts}
            for block in self._file.blocks
        ]
        tied = sum(block["tied_cells"] for block in blocks) / (self._shape[0] * self._shape[1])
        passport = {**self._passport, "tied_share": round(tied, 6), "blocks": blocks}
        write_json(self._folder / "passport.json", passport)
        self._file.forget()

    def _check_same(self, passport: Mapping[str, Any]) -> None:
        mine = {k: v for k, v in self._passport.items() if k != "block_rows"}
        differ = [k for k, value in mine.items() if passport.get(k) != value]
        if differ:
            option = "--provider" if mine.get("source") == "imported" else "--as"
            raise StoreError(
                f"{self._folder.parent}: provider {self._name!r} is there with another "
                f"{', '.join(sorted(differ))}. Store this one under {option} NAME, or replace it "
                "with --overwrite."
            )


def _shared_facts(dataset: Dataset) -> dict[str, Any]:
    return {
        "protocol": dataset.protocol,
        "queries_sha256": dataset.queries_sha256,
        "gallery_sha256": dataset.gallery_sha256,
        "dataset_options": dict(dataset.options),
    }


def _count_tied(rows: NDArray[Any]) -> int:
    """Count cells that share their score with another cell of their row."""
    if rows.shape[1] < 2:
        return 0
    ordered = np.sort(rows, axis=1)
    same = ordered[:, 1:] == ordered[:, :-1]  # (B, N - 1)
    edge = np.zeros((len(rows), 1), bool)
    return int((np.hstack([edge, same]) | np.hstack([same, edge])).sum())


def _write_parquet(frame: pl.DataFrame, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    frame.write_parquet(temporary)
    temporary.replace(path)
