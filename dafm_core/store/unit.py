"""One provider's folder of a store, as it is read and checked; ``writer.py`` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import StoreError
from dafm_core.ground.blocks import checksum
from dafm_core.ground.files import sha256_of
from dafm_core.ground.sources import source_array
from dafm_core.store import checked
from dafm_core.store.manifest import FORMAT_VERSION, read_manifest, read_object
from dafm_core.store.shortlist import Shortlist, read_shortlist
from dafm_core.store.subset_file import read_subset

SHARED_FIELDS = ("protocol", "queries_sha256", "gallery_sha256", "dataset_options", "direction")
"""Passport fields in which every provider must agree with the store."""
SCORE_DTYPES = ("float32", "float16")
PASSPORT_REQUIRED = {"provider": str, "protocol": str, "dtype": str, "blocks": list}


@dataclass(frozen=True)
class Unit:
    """A complete provider of an open store. Its methods raise StoreError where it is damaged.

    Parameters
    ----------
    folder : Path
        Its name is the provider's.
    facts : mapping
        The manifest of the store.
    """

    folder: Path
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the provider."""
        return self.folder.name

    @property
    def where(self) -> str:
        """Store and provider, as errors begin."""
        return f"{self.folder.parent}: {self.name}"

    def passport(self) -> dict[str, Any]:
        """Return where the matrix comes from; see ``SimilarityStore.passport``."""
        path = self.folder / "passport.json"
        passport = read_manifest(path, required=PASSPORT_REQUIRED)
        if passport["provider"] != self.name:
            raise StoreError(
                f"{path}: expected the passport of {self.name!r}, got that of "
                f"{passport['provider']!r}: the folder was renamed or swapped. Name it back."
            )
        if passport.get("format", 1) != self.facts["format"] == 1:
            raise StoreError(
                f"{path}: is of format 2, the store of format 1: an upgrade was interrupted. "
                f"Repeat dafm upgrade {self.folder.parent}."
            )
        for field in SHARED_FIELDS:
            expected = self.facts.get(field, "similarity")  # the direction of every store
            if passport.get(field) != expected:
                raise StoreError(
                    f"{path}: expected the store's {field} {expected!r}, got "
                    f"{passport.get(field)!r}: the folder comes from another store. Score it again."
                )
        return passport

    def cost(self) -> dict[str, Any]:
        """Return what scoring took, or nothing where it is not known."""
        path = self.folder / "cost.json"
        return read_object(path) if path.exists() else {}

    def scores(self, dataset: Dataset) -> NDArray[Any] | Shortlist:
        """Return the matrix, memory-mapped, (n_queries, n_gallery), or the shortlists."""
        if self.passport().get("kind") == "shortlist":
            return read_shortlist(self.folder / "shortlist.parquet", dataset)
        return self.matrix()

    def matrix(self) -> NDArray[Any]:
        """Return a dense provider's matrix, memory-mapped, (n_queries, n_gallery)."""
        matrix = _load(self.folder / "scores.npy")
        expected = (self.facts["n_queries"], self.facts["n_gallery"])
        if matrix.shape != expected or str(matrix.dtype) not in SCORE_DTYPES:
            raise StoreError(
                f"{self.where}/scores.npy: expected {' or '.join(SCORE_DTYPES)} of "
                f"shape {expected}, got {matrix.dtype} of {matrix.shape}. Score it again with "
                "--overwrite."
            )
        return matrix

    def neighbours(self) -> NDArray[np.int32] | None:
        """Return each candidate's nearest other candidates, (n_gallery, M), or None."""
        path = self.folder / "neighbours.npy"
        passport = self.passport()
        is_listed = "neighbours.npy" in passport.get("files", {})
        if not path.exists():
            if is_listed:
                raise StoreError(f"{path}: is missing. Score {self.name!r} again with --overwrite.")
            return None
        if passport.get("format") == FORMAT_VERSION and not is_listed:
            return None  # left behind by something else: only what the passport hashes counts
        nearest = _load(path)
        n = self.facts["n_gallery"]
        valid = nearest.ndim == 2 and len(nearest) == n and nearest.dtype.kind == "i"
        if not valid or (nearest.size and not -1 <= nearest.min() <= nearest.max() < n):
            raise StoreError(
                f"{path}: expected {n} rows of candidates' numbers, got {nearest.dtype} of shape "
                f"{nearest.shape}. Score {self.name!r} again with --overwrite."
            )
        return np.asarray(nearest, dtype=np.int32)

    def subset(self, dataset: Dataset) -> Shortlist | None:
        """Return the provider's own ranking of each query's subset, or None."""
        return read_subset(self.folder, dataset, self.passport())

    def check(self) -> int:
        """Raise StoreError unless everything matches its checksum; return the bytes read."""
        files = ("passport.json", "scores.npy", "shortlist.parquet", "neighbours.npy")
        seen = checked.signature(self.folder, files)
        if checked.is_remembered(self.folder, seen):
            return 0
        damage = self.verify()
        if damage:
            more = f" {len(damage) - 1} more parts are damaged." if len(damage) > 1 else ""
            raise StoreError(f"{damage[0]}{more} Score it again: only what is damaged is computed.")
        checked.remember(self.folder, seen)
        return checked.n_bytes(seen)

    def verify(self) -> list[str]:
        """Return one line for each block of rows, and each file, that differs from the passport."""
        passport = self.passport()
        if passport.get("kind") == "shortlist":
            return self._verify_files(passport)
        scores = self.matrix()
        lines = [
            f"{self.where}: rows {b['start']}:{b['stop']} do not match their checksum."
            for b in passport["blocks"]
            if checksum(scores[b["start"] : b["stop"]]) != b["sha256"]
        ]
        covered = sum(b["stop"] - b["start"] for b in passport["blocks"])
        if covered != len(scores):
            lines.append(f"{self.where}: {len(scores) - covered} rows have no checksum.")
        return lines + self._verify_files(passport)

    def _verify_files(self, passport: Mapping[str, Any]) -> list[str]:
        lines = []
        files = passport.get("files", {}) if passport.get("format") == FORMAT_VERSION else {}
        for file, expected in files.items():
            path = self.folder / file
            if not path.exists() or sha256_of(path) != expected:
                lines.append(f"{self.where}: {file} does not match its checksum.")
        return lines


def _load(path: Path) -> NDArray[Any]:
    try:
        return source_array(path)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be read ({error}). Score it again with --overwrite."
        ) from None
