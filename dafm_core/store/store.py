"""The similarity store: one portable folder with K frozen models' scores and what evaluation needs.

    STORE/store.json           manifest of the dataset part: protocol, hashes, metrics
    STORE/queries.parquet      one row per query, see ``datasets/query_frame.py``
    STORE/gallery.parquet      image_id
    STORE/NAME/passport.json   manifest of one provider: where its scores come from, and hashes
    STORE/NAME/scores.npy      (n_queries, n_gallery) in C order, float32 or float16
    STORE/NAME/shortlist.parquet  instead: query, candidate, score of the candidates listed
    STORE/NAME/neighbours.npy  optional: each candidate's nearest others, (n_gallery, M) int32
    STORE/NAME/cost.json       optional: what scoring took here; in no manifest
    STORE/NAME/subset.json     optional: manifest of a ranking of subsets, see ``subset_file.py``

A part is there when its manifest is, which is written last. Two processes may score two providers
at the same time. How scores come about is not known here: see ``scoring/`` and ``formats/``; how a
folder is written, ``writer.py``; stores of format 1, ``format1.py``.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import QUERY_SCHEMA, with_later_columns
from dafm_core.errors import AlignmentError, StoreError, closest
from dafm_core.ground.blocks import checksum
from dafm_core.ground.files import replacing, sha256_of, write_json
from dafm_core.ground.ids import Ids
from dafm_core.ground.printable import first_line
from dafm_core.ground.sources import source_array, source_table
from dafm_core.store import checked, format1
from dafm_core.store.locks import Visit, writing
from dafm_core.store.manifest import (
    FORMAT_VERSION,
    read_manifest,
    read_object,
    sealed,
    shared_facts,
    store_facts,
)
from dafm_core.store.shortlist import (
    Shortlist,
    Unknown,
    read_shortlist,
    unknown_of,
    write_shortlist,
)
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.subset_file import read_subset, write_subset
from dafm_core.store.writer import ScoreWriter, check_same, reopen, shortlist_passport

logger = logging.getLogger(__name__)

DENSE_FILES = (
    "scores.npy",
    "scores.partial.npy",
    "scores.progress.jsonl",
    "neighbours.npy",
    "cost.json",
)
"""What shortlists of the same name replace."""
SHARED_FIELDS = ("protocol", "queries_sha256", "gallery_sha256", "dataset_options", "direction")
"""Passport fields in which every provider must agree with the store."""
PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
SCORE_DTYPES = ("float32", "float16")
REQUIRED = {
    "format": int,
    "protocol": str,
    "queries_sha256": str,
    "gallery_sha256": str,
    "dataset_options": dict,
    "n_queries": int,
    "n_gallery": int,
    "metrics": list,
}
"""Fields of ``store.json``, and their kinds."""
PASSPORT_REQUIRED = {"provider": str, "protocol": str, "dtype": str, "blocks": list}


class SimilarityStore:
    """An open store. ``SimilarityStore.create`` makes one, ``SimilarityStore.open`` reads one.

    Raises
    ------
    StoreError
        If the folder is no store, is damaged, or was written by a newer version of dafm.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "store.json").exists():
            raise StoreError(
                f"{path}: not a similarity store (no store.json). Run dafm score first."
            )
        self._facts = read_manifest(path / "store.json", required=REQUIRED)

    def __repr__(self) -> str:
        names = ", ".join(self.providers) or "no provider yet"
        return f"<SimilarityStore {str(self.path)!r} of {self.protocol}: {names}>"

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
        _check_folder(path)
        with writing(path, "store.json", wait=True):
            if not (path / "store.json").exists():  # nobody made it while this one waited
                with replacing(path / "queries.parquet") as temporary:
                    dataset.queries.write_parquet(temporary)
                gallery = pl.DataFrame(
                    {"image_id": list(dataset.gallery_ids)}, schema={"image_id": pl.String}
                )
                with replacing(path / "gallery.parquet") as temporary:
                    gallery.write_parquet(temporary)
                write_json(path / "store.json", sealed(store_facts(dataset)))
        store = cls(path)
        store.check_dataset(dataset)
        return store

    @classmethod
    @contextmanager
    def filling(cls, path: str | Path, dataset: Dataset) -> Iterator[SimilarityStore]:
        """As ``create``, but a store made here is removed again if nothing gets into it.

        What another process has put into it meanwhile stays.
        """
        path = Path(path)
        _check_folder(path)
        new = not (path / "store.json").exists()
        visit = Visit(path)
        try:
            yield cls.create(path, dataset)
        finally:
            if new and visit.is_alone() and not any(p.is_dir() for p in path.iterdir()):
                for file in path.iterdir():  # store.json, the two tables and locks
                    file.unlink()
                path.rmdir()
            visit.end()

    def check_dataset(self, dataset: Dataset) -> None:
        """Raise StoreError unless the store was made for this protocol, gallery, and query list."""
        if self._facts["format"] == 1:
            format1.refuse(self.path)
        expected = {**shared_facts(dataset), "truth_sha256": dataset.truth_sha256}
        for field, value in expected.items():
            if self._facts.get(field) != value:
                raise StoreError(
                    f"{self.path}: the store's {field} is {self._facts.get(field)!r}, the "
                    f"dataset's {value!r}. Use another store for another protocol."
                )

    @property
    def protocol(self) -> str:
        """Name of the protocol: dataset, split, gallery and exclusions."""
        protocol = str(self._facts["protocol"])
        return format1.protocol_of(protocol) if self._facts["format"] == 1 else protocol

    @cached_property
    def dataset(self) -> Dataset:
        """The queries, gallery and truth; without image paths."""
        try:
            queries = source_table(self.path / "queries.parquet")
            if self._facts["format"] == 1:
                queries = format1.queries_of(queries)
            queries = with_later_columns(queries).select(list(QUERY_SCHEMA))
            listed = source_table(self.path / "gallery.parquet")
            gallery = listed["image_id"].to_list()
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise StoreError(
                f"{self.path}: queries or gallery cannot be read ({first_line(error)})."
            ) from None
        dataset = Dataset(
            protocol=self.protocol,
            gallery_ids=Ids(gallery),
            queries=queries,
            metrics=tuple(self._facts["metrics"]),
            options=self._facts["dataset_options"],
        )
        if self._facts["format"] == 1:
            format1.check(self.path, self._facts, dataset)
            return dataset
        for field in ("queries_sha256", "gallery_sha256", "truth_sha256"):
            if getattr(dataset, field) != self._facts.get(field):
                raise StoreError(
                    f"{self.path}: {field} does not match store.json: the ids, texts or targets "
                    "were changed after scoring. Restore the files, or score again into a new "
                    "store."
                )
        return dataset

    @property
    def providers(self) -> tuple[str, ...]:
        """Names of the providers whose matrices are complete, sorted.

        A passport is written last and removed first: where it is and its rows are not, somebody
        has removed them, which reading says.
        """
        return tuple(sorted(p.parent.name for p in self.path.glob("*/passport.json")))

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Names of the providers whose scoring was interrupted, sorted."""
        return tuple(sorted(p.parent.name for p in self.path.glob("*/*.progress.jsonl")))

    def passport(self, name: str) -> dict[str, Any]:
        """Return where a provider's matrix comes from.

        Raises
        ------
        StoreError
            If it was edited, or belongs to another provider or to another store.
        """
        path = self._folder(name) / "passport.json"
        passport = read_manifest(path, required=PASSPORT_REQUIRED)
        if passport["provider"] != name:
            raise StoreError(
                f"{path}: expected the passport of {name!r}, got that of "
                f"{passport['provider']!r}: the folder was renamed or swapped. Name it back."
            )
        if passport.get("format", 1) != self._facts["format"] == 1:
            raise StoreError(
                f"{path}: is of format 2, the store of format 1: an upgrade was interrupted. "
                f"Repeat dafm upgrade {self.path}."
            )
        for field in SHARED_FIELDS:
            expected = self._facts.get(field, "similarity")  # the direction of every store
            if passport.get(field) != expected:
                raise StoreError(
                    f"{path}: expected the store's {field} {expected!r}, got "
                    f"{passport.get(field)!r}: the folder comes from another store. Score it again."
                )
        return passport

    def cost(self, name: str) -> dict[str, Any]:
        """Return what scoring took, or nothing where it is not known."""
        path = self._folder(name) / "cost.json"
        return read_object(path) if path.exists() else {}

    def scores(self, name: str) -> NDArray[Any] | Shortlist:
        """Return a provider's matrix, memory-mapped, (n_queries, n_gallery), or its shortlists."""
        if self.passport(name).get("kind") == "shortlist":
            return read_shortlist(self._folder(name) / "shortlist.parquet", self.dataset)
        return self.matrix(name)

    def matrix(self, name: str) -> NDArray[Any]:
        """Return a dense provider's matrix, memory-mapped, (n_queries, n_gallery)."""
        matrix = self._load(self._folder(name) / "scores.npy")
        expected = (self._facts["n_queries"], self._facts["n_gallery"])
        if matrix.shape != expected or str(matrix.dtype) not in SCORE_DTYPES:
            raise StoreError(
                f"{self.path}: {name}/scores.npy: expected {' or '.join(SCORE_DTYPES)} of shape "
                f"{expected}, got {matrix.dtype} of {matrix.shape}. Score it again with "
                "--overwrite."
            )
        return matrix

    def neighbours(self, name: str) -> NDArray[np.int32] | None:
        """Return each candidate's nearest other candidates, (n_gallery, M), or None."""
        path = self._folder(name) / "neighbours.npy"
        passport = self.passport(name)
        is_listed = "neighbours.npy" in passport.get("files", {})
        if not path.exists():
            if is_listed:
                raise StoreError(f"{path}: is missing. Score {name!r} again with --overwrite.")
            return None
        if passport.get("format") == FORMAT_VERSION and not is_listed:
            return None  # left behind by something else: only what the passport hashes counts
        nearest = self._load(path)
        n = self._facts["n_gallery"]
        valid = nearest.ndim == 2 and len(nearest) == n and nearest.dtype.kind == "i"
        if not valid or (nearest.size and not -1 <= nearest.min() <= nearest.max() < n):
            raise StoreError(
                f"{path}: expected {n} rows of candidates' numbers, got {nearest.dtype} of shape "
                f"{nearest.shape}. Score {name!r} again with --overwrite."
            )
        return np.asarray(nearest, dtype=np.int32)

    def subset(self, name: str) -> Shortlist | None:
        """Return a provider's own ranking of each query's subset, or None; see ``subset_file``."""
        return read_subset(self._folder(name), self.dataset, self.passport(name))

    def write_subset(self, name: str, lists: Shortlist, *, sources: Mapping[str, Any]) -> None:
        """Put a ranking of subsets beside a provider's rows; errors as :meth:`writer`."""
        self.check_name(name)
        with writing(self.path, name):
            write_subset(
                self._folder(name),
                lists,
                self.dataset,
                passport=self.passport(name),
                sources=sources,
            )

    def stack(self, names: Sequence[str] | None = None, *, verify: bool = True) -> SimilarityStack:
        """Return the store's dataset with the rows of its providers, memory-mapped.

        Parameters
        ----------
        names : sequence of str, optional
            All complete providers by default.
        verify : bool, default=True
            Check rows and files against their checksums before they are used. What was found to
            match is remembered in the cache, and not read again while it is the same files.

        Raises
        ------
        AlignmentError
            If there are none.
        StoreError
            For an unknown name (with the closest match), a damaged file, or a passport of another
            store.
        """
        names = sorted(self.providers if names is None else names)
        if not names:
            raise AlignmentError(f"{self.path}: nothing is scored yet. Run dafm score first.")
        passports = {name: self.passport(name) for name in names}
        if verify:
            started = time.perf_counter()
            checked.say_cost(self.path, sum(map(self.check, names)), started)
        neighbours = {name: self.neighbours(name) for name in names}
        subsets = {name: self.subset(name) for name in names}
        return SimilarityStack.from_matrices(
            {name: self.scores(name) for name in names},
            self.dataset,
            passports=passports,
            neighbours={name: ids for name, ids in neighbours.items() if ids is not None},
            subset_lists={name: lists for name, lists in subsets.items() if lists is not None},
            unknown={
                name: kind
                for name, passport in passports.items()
                if (kind := unknown_of(passport)) is not None
            },
            checked=True,
        )

    def check(self, name: str) -> int:
        """Raise StoreError if a provider's rows or files do not match their checksums.

        As :meth:`verify`, but what matched once is remembered. Returns how many bytes were read.
        """
        folder = self._folder(name)
        files = ("passport.json", "scores.npy", "shortlist.parquet", "neighbours.npy")
        seen = checked.signature(folder, files)
        if checked.is_remembered(folder, seen):
            return 0
        damage = self.verify(name)
        if damage:
            more = f" {len(damage) - 1} more parts are damaged." if len(damage) > 1 else ""
            raise StoreError(f"{damage[0]}{more} Score it again: only what is damaged is computed.")
        checked.remember(folder, seen)
        return checked.n_bytes(seen)

    def verify(self, name: str) -> list[str]:
        """Return one line for each block of rows, and each file, that differs from the passport."""
        passport = self.passport(name)
        if passport.get("kind") == "shortlist":
            return self._verify_files(name, passport)
        scores = self.matrix(name)
        lines = [
            f"{self.path}: {name}: rows {b['start']}:{b['stop']} do not match their checksum."
            for b in passport["blocks"]
            if checksum(scores[b["start"] : b["stop"]]) != b["sha256"]
        ]
        covered = sum(b["stop"] - b["start"] for b in passport["blocks"])
        if covered != len(scores):
            lines.append(f"{self.path}: {name}: {len(scores) - covered} rows have no checksum.")
        return lines + self._verify_files(name, passport)

    def _verify_files(self, name: str, passport: Mapping[str, Any]) -> list[str]:
        lines = []
        files = passport.get("files", {}) if passport.get("format") == FORMAT_VERSION else {}
        for file, expected in files.items():
            path = self.path / name / file
            if not path.exists() or sha256_of(path) != expected:
                lines.append(f"{self.path}: {name}: {file} does not match its checksum.")
        return lines

    def remove(self, name: str) -> None:
        """Delete one provider's folder."""
        with writing(self.path, name):
            folder = self._folder(name)
            (folder / "passport.json").unlink()  # from here on it is not there
            shutil.rmtree(folder)

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
        self.check_name(name)
        if dtype not in SCORE_DTYPES:
            raise StoreError(f"{name}: dtype {dtype!r}{closest(dtype, SCORE_DTYPES)}")
        with writing(self.path, name):
            self._clear_damaged(name, overwrite)
            if not overwrite:
                block_rows = self._reopen_damaged(name) or block_rows
            writer = ScoreWriter(
                self.path / name,
                shape=(self._facts["n_queries"], self._facts["n_gallery"]),
                excluded=self.dataset.excluded,
                shared=shared_facts(self.dataset),
                passport=passport,
                existing=self.passport(name) if name in self.providers else None,
                dtype=dtype,
                block_rows=block_rows,
                overwrite=overwrite,
            )
            try:
                yield writer
            except BaseException:
                writer.leave()
                raise
            writer.finish()

    def write_shortlist(
        self,
        name: str,
        shortlist: Shortlist,
        *,
        passport: Mapping[str, Any],
        unknown: Unknown,
        overwrite: bool = False,
        cost: Mapping[str, Any] | None = None,
    ) -> None:
        """Put shortlists into the store as the provider ``name``; errors as :meth:`writer`."""
        self.check_name(name)
        with writing(self.path, name):
            self._clear_damaged(name, overwrite)
            facts = shortlist_passport(name, shortlist, unknown, passport, self.dataset)
            if name in self.providers and not overwrite:
                check_same(self.path, name, facts, self.passport(name))
                return
            folder = self.path / name
            (folder / "passport.json").unlink(missing_ok=True)
            write_shortlist(folder / "shortlist.parquet", shortlist, self.dataset)
            for stale in DENSE_FILES:
                (folder / stale).unlink(missing_ok=True)
            if cost:
                write_json(folder / "cost.json", dict(cost))
            files = {"shortlist.parquet": sha256_of(folder / "shortlist.parquet")}
            write_json(folder / "passport.json", sealed({**facts, "files": files}))

    def check_name(self, name: str) -> None:
        """Raise StoreError if a provider cannot be called so, or nothing can be written here."""
        if not PROVIDER_NAME.fullmatch(name):
            raise StoreError(
                f"provider name {name!r}: expected lower-case letters, digits and '-'."
            )
        if self._facts["format"] == 1:
            format1.refuse(self.path)

    def _clear_damaged(self, name: str, overwrite: bool) -> None:
        """Remove a passport that cannot be read, if it is to be replaced anyway."""
        if overwrite and name in self.providers:
            try:
                self.passport(name)
            except StoreError:
                (self.path / name / "passport.json").unlink()

    def _reopen_damaged(self, name: str) -> int | None:
        """Let the damaged blocks of a finished matrix be written again, and only they.

        Returns
        -------
        int or None
            Rows of a block, where there is damage.
        """
        if name not in self.providers:
            return None
        passport = self.passport(name)
        if passport.get("format") != FORMAT_VERSION or passport.get("kind") == "shortlist":
            return None
        try:
            self.check(name)
        except StoreError as error:
            logger.warning("%s", str(error).partition(" Score it again")[0])
            reopen(self.path / name, passport)
            return int(passport["block_rows"])
        return None

    def _folder(self, name: str) -> Path:
        if name not in self.providers:
            raise StoreError(f"{self.path}: no provider {name!r}{closest(name, self.providers)}")
        return self.path / name

    def _load(self, path: Path) -> NDArray[Any]:
        try:
            return source_array(path)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{path}: cannot be read ({error}). Score it again with --overwrite."
            ) from None


def _check_folder(path: Path) -> None:
    """Make the folder of a store; raise StoreError where it cannot be one.

    Files that an interrupted start has left are no obstacle: they are written again.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be made a store ({error.strerror}). Choose another folder."
        ) from None
    if "store.json" not in names and names - {"queries.parquet", "gallery.parquet"}:
        raise StoreError(f"{path}: expected an empty or new folder for a store. Choose another.")
