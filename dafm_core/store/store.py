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
at the same time. How scores come about is not known here: see ``scoring/`` and ``formats/``. How a
provider's folder is read is in ``unit.py``, how it is written in ``writer.py``; the files that all
providers share are in ``dataset_part.py``, stores of format 1 in ``format1.py``.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import AlignmentError, StoreError, closest
from dafm_core.store import checked, format1
from dafm_core.store.dataset_part import (
    REQUIRED,
    check_tables,
    make_folder,
    protocol_of,
    read_dataset,
    write_dataset,
)
from dafm_core.store.locks import Visit, writing
from dafm_core.store.manifest import FORMAT_VERSION, read_manifest, shared_facts
from dafm_core.store.shortlist import Shortlist, Unknown, unknown_of
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.subset_file import write_subset
from dafm_core.store.unit import SCORE_DTYPES, Unit
from dafm_core.store.writer import (
    ScoreWriter,
    check_same,
    put_shortlist,
    reopen,
    shortlist_passport,
)

logger = logging.getLogger(__name__)

PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
ANSWERS = "pairs.progress.jsonl"
"""What a pair provider has answered so far, in its folder until its shortlists are whole."""


class SimilarityStore:
    """An open store. ``SimilarityStore.create`` makes one, ``SimilarityStore.open`` reads one.

    Raises
    ------
    StoreError
        If the folder is no store, is damaged, or was written by a newer version of dafm.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_file():
            raise StoreError(
                f"{path}: not a similarity store, which is a folder. Put scores into one: dafm "
                f"import {path.name} --provider NAME --store FOLDER --dataset NAME:PATH"
            )
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
        make_folder(path)
        with writing(path, "store.json", wait=True):
            if not (path / "store.json").exists():  # nobody made it while this one waited
                write_dataset(path, dataset)
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
        make_folder(path)
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

    def verify_tables(self) -> None:
        """Raise StoreError unless queries, gallery and truth match the manifest's hashes, whatever
        is remembered of them.
        """
        if self._facts["format"] != 1:
            check_tables(self.path, self._facts, self.dataset)

    @property
    def protocol(self) -> str:
        """Name of the protocol: dataset, split, gallery and exclusions."""
        return protocol_of(self._facts)

    @cached_property
    def dataset(self) -> Dataset:
        """The queries, gallery and truth; without image paths."""
        return read_dataset(self.path, self._facts)

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
        return self._unit(name).passport()

    def cost(self, name: str) -> dict[str, Any]:
        """Return what scoring took, or nothing where it is not known."""
        return self._unit(name).cost()

    def scores(self, name: str) -> NDArray[Any] | Shortlist:
        """Return a provider's matrix, memory-mapped, (n_queries, n_gallery), or its shortlists."""
        return self._unit(name).scores(self.dataset)

    def matrix(self, name: str) -> NDArray[Any]:
        """Return a dense provider's matrix, memory-mapped, (n_queries, n_gallery)."""
        return self._unit(name).matrix()

    def neighbours(self, name: str) -> NDArray[np.int32] | None:
        """Return each candidate's nearest other candidates, (n_gallery, M), or None."""
        return self._unit(name).neighbours()

    def subset(self, name: str) -> Shortlist | None:
        """Return a provider's own ranking of each query's subset, or None; see ``subset_file``."""
        return self._unit(name).subset(self.dataset)

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
            with ThreadPoolExecutor() as threads:  # a checksum is counted without Python's lock
                n_read = sum(threads.map(self.check, names))
            checked.say_cost(self.path, n_read, started)
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
        return self._unit(name).check()

    def verify(self, name: str) -> list[str]:
        """Return one line for each block of rows, and each file, that differs from the passport."""
        return self._unit(name).verify()

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
        with self.replacing_answers(name, overwrite=overwrite), writing(self.path, name):
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
            put_shortlist(self.path / name, shortlist, self.dataset, facts, cost)

    @contextmanager
    def replacing_answers(self, name: str, *, overwrite: bool) -> Iterator[None]:
        """Let something else take the name of an interrupted pair run; its answers go at the end.

        Raises
        ------
        StoreError
            If there are answers and ``overwrite`` is not said, for they may have cost much; or
            another process is asking for more.
        """
        answers = self.path / name / ANSWERS
        if not answers.exists() or (name in self.providers and not overwrite):
            yield
            return
        with writing(self.path, f"{name}.pairs"):
            if not overwrite:
                raise StoreError(
                    f"{self.path}: {name!r} is an interrupted run over pairs, whose answers are "
                    "kept. Repeat that command, use another name, or give --overwrite."
                )
            yield
            answers.unlink(missing_ok=True)

    def check_name(self, name: str) -> None:
        """Raise StoreError if a provider cannot be called so, or nothing can be written here."""
        if not PROVIDER_NAME.fullmatch(name):
            raise StoreError(
                f"provider name {name!r}: expected lower-case letters, digits and '-'. "
                "What tables call it is said by --label of dafm compare."
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

    def _unit(self, name: str) -> Unit:
        return Unit(self._folder(name), self._facts)
