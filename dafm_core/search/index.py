"""A gallery index, opened: images, features, neighbours and what a query bank says of them.

It is written by ``building.py``; queries are answered in ``search.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef
from dafm_core.errors import StoreError
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.ground.ids import Ids
from dafm_core.search.cells import BankRows, IndexBank, columns_file
from dafm_core.search.checking import check, verify
from dafm_core.search.features import GalleryFeatures
from dafm_core.search.manifest import Entry, Manifest
from dafm_core.search.moments import Moments
from dafm_core.search.stored import stored_array, stored_table
from dafm_core.store.gallery import Gallery

COLUMNS: Final = {"image_id", "path", "part", "row"}
"""Of the gallery's table; others are its user's."""
N_INSTEAD: Final = 1024
"""Images that stand for queries where there are none."""
BANK_ARRAYS: Final = ("mean", "std", "ranks", "thresholds", "topics")


class GalleryIndex:
    """A gallery index on disk. ``GalleryIndex.build`` makes one, ``GalleryIndex.open`` reads one.

    An open index stays what it was when it was opened: what ``--add`` and ``--remove`` do shows
    when it is opened again.

    Raises
    ------
    StoreError
        If the folder is no index, is damaged, or was written by a newer version of dafm.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.is_checked = False
        """Whether files are compared with their checksums before they are used."""
        self.state = path / f"state-{self.manifest.state}"
        for name in self.manifest.files:
            if not (self.state / name).exists():
                raise StoreError(f"{self.state / name}: is missing. Build the index again.")
        self.images = stored_table(self.state / "gallery.parquet")
        if lacking := COLUMNS - set(self.images.columns):
            raise StoreError(
                f"{self.state}/gallery.parquet: expected a column {min(lacking)}, got none: it is "
                "damaged. Build the index again."
            )
        self.ids = Ids(self.images["image_id"].to_list())

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> GalleryIndex:
        """Open an existing index.

        Parameters
        ----------
        path : path
        verify : bool, default=True
            Check every file against its checksum before it is used; what matched is remembered in
            the cache, and not read again while it is the same files.
        """
        index = cls(Path(path), Manifest.read(Path(path)))
        if verify:
            check(index)
        return index

    @classmethod
    def draft(cls, path: Path, manifest: Manifest) -> GalleryIndex:
        """Return an index whose manifest is not written yet, for what is made of its features."""
        return cls(path, manifest)

    @classmethod
    def build(cls, path: str | Path, images: Any, providers: Any, **settings: Any) -> GalleryIndex:
        """Build an index; see :func:`dafm_core.search.building.build_index`."""
        from dafm_core.search.building import build_index

        return build_index(path, images, providers, **settings)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What is known of each provider, by name."""
        return self.manifest.entries

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the providers, sorted."""
        return tuple(sorted(self.entries))

    @property
    def n_images(self) -> int:
        """Number of images that can be found."""
        return len(self.ids)

    @cached_property
    def gallery(self) -> Gallery:
        """What a fusion is made ready with; pair providers are asked about a shortlist."""
        pairs = [name for name, entry in self.entries.items() if entry.kind == "pair"]
        return Gallery(
            names=self.names,
            ids=self.ids,
            passports={name: entry.passport for name, entry in self.entries.items()},
            neighbours=self.neighbours,
            unknown=dict.fromkeys(pairs, "not-asked"),
        )

    @cached_property
    def neighbours(self) -> dict[str, NDArray[np.int32]]:
        """Each image's nearest others, by provider, where they are known; memory-mapped."""
        files = {name: self.state / f"{name}.neighbours.npy" for name in self.names}
        return {
            name: stored_array(file)
            for name, file in files.items()
            if file.name in self.manifest.files
        }

    @cached_property
    def bank(self) -> QueryBank | None:
        """What the bank's queries say of every image, memory-mapped; None without a bank."""
        if not self.manifest.bank:
            return None
        names = tuple(self.manifest.bank["providers"])
        if self.bank_parts:
            cells = self._of_images([stored_array(path) for path in self.bank_parts])
            rows = BankRows.load(self.bank_folder / "rows.npz")
            return IndexBank(names, self.ids, cells, rows, tuple(range(len(names))))
        arrays = {
            f"bank.{name}": stored_array(self.state / f"bank.{name}.npy") for name in BANK_ARRAYS
        }
        return QueryBank.from_state(arrays, {"names": names, "gallery": self.ids})

    @cached_property
    def bank_columns(self) -> GalleryFeatures | None:
        """Mean and spread of each image's column by provider, (N, 2 K), of a large gallery."""
        if not self.bank_parts:
            return None
        return self._of_images([stored_array(columns_file(path)) for path in self.bank_parts])

    @property
    def bank_folder(self) -> Path:
        """Where a bank is kept image by image."""
        return self.path / f"bank-{self.manifest.bank.get('version', 0)}"

    @property
    def bank_parts(self) -> list[Path]:
        """Files of a bank that is kept image by image: of a large gallery."""
        hashes = self.manifest.bank.get("parts", ())
        return [self.bank_folder / f"part-{p}.npy" for p in range(len(hashes))]

    @cached_property
    def moments(self) -> dict[str, Moments]:
        """Sums over each provider's features, where they are kept: of a large gallery."""
        files = {name: f"{name}.moments.npz" for name in self.names}
        return {
            name: Moments.load(self.state / file)
            for name, file in files.items()
            if file in self.manifest.files
        }

    @property
    def bank_ids(self) -> tuple[str, ...]:
        """Ids of the bank's queries."""
        if not self.manifest.bank:
            return ()
        return tuple(stored_table(self.path / "bank.parquet")["query_id"])

    def features(self, name: str) -> GalleryFeatures:
        """Return a provider's features of every image, memory-mapped."""
        entry = self.entries[name]
        return self._of_images([self.part(name, p) for p in range(len(entry.parts))])

    def asked_before(self, name: str) -> NDArray[np.float32]:
        """Return what a provider is asked: features of the bank's queries, (B, D).

        Without a bank its images have to do, less what they have in common.
        """
        file = self.path / name / "bank.npy"
        if self.manifest.bank and file.exists():
            queries: NDArray[np.float32] = stored_array(file).astype(np.float32)
            return queries
        some = np.linspace(0, self.n_images - 1, min(self.n_images, N_INSTEAD)).astype(np.int64)
        features = self.features(name).take(some)
        features -= features.mean(axis=0)
        return features

    def part(self, name: str, number: int) -> NDArray[Any]:
        """Return a provider's features of one build or ``--add``, removed images included."""
        entry = self.entries[name]
        path, part = self.path / name / f"part-{number}.npy", entry.parts[number]
        array = stored_array(path)
        if array.shape != (part.rows, *entry.width) or str(array.dtype) != entry.dtype:
            raise StoreError(
                f"{path}: expected {entry.dtype} of shape {(part.rows, *entry.width)}, got "
                f"{array.dtype} of {array.shape}. Build the index again."
            )
        return array

    def _of_images(self, parts: list[NDArray[Any]]) -> GalleryFeatures:
        """Return what parts hold of the images that are there."""
        kept = [(p, rows) for p, rows in enumerate(self.part_rows) if len(rows)]
        return GalleryFeatures([parts[p] for p, _ in kept], [rows for _, rows in kept])

    @cached_property
    def part_rows(self) -> list[NDArray[np.int64]]:
        """Which rows of each part are images that are there."""
        part, row = self.images["part"].to_numpy(), self.images["row"].to_numpy()
        return [row[part == p].astype(np.int64) for p in range(len(self.manifest.part_rows))]

    def image(self, image_id: str) -> ImageRef:
        """Return an image with its path, where one is known; the id must be there."""
        path = self.images["path"][self.ids.place[image_id]]
        return ImageRef(image_id, None if path is None else Path(path))

    @cached_property
    def refs(self) -> list[ImageRef]:
        """Every image, in order."""
        paths = self.images["path"].to_list()
        pairs = zip(self.ids, paths, strict=True)
        return [ImageRef(i, None if path is None else Path(path)) for i, path in pairs]

    def verify(self) -> None:
        """Read everything and compare it with its checksums.

        Raises
        ------
        StoreError
            At the first file that does not match.
        """
        verify(self)
