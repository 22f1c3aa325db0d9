"""What is indexed: the images of a dataset, of a plain folder or of another index, with columns to
filter by.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from dafm_core.catalog import PluginCatalog
from dafm_core.contract.items import ImageRef
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.folder import TABLES, Links, image_ids
from dafm_core.datasets.reading import choose
from dafm_core.errors import DatasetError
from dafm_core.ground.ids import Ids
from dafm_core.ground.printable import first_line
from dafm_core.ground.sources import source_bytes, source_table
from dafm_core.search.index import GalleryIndex
from dafm_core.search.manifest import MANIFEST

RESERVED = ("image_id", "path", "part", "row")
"""Columns of an index that nobody else's columns may replace."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Images to index.

    Parameters
    ----------
    ids : Ids
    paths : mapping of str to Path
        Where the files are; may lack ids where no provider looks at pixels.
    columns : polars.DataFrame, optional
        ``image_id`` and whatever queries may filter by.
    dataset : Dataset, optional
        The dataset that they come from, where its queries may serve as a bank.
    index : GalleryIndex, optional
        The index that they come from: what the same models have encoded is not encoded again.
    where : str
        How messages call them.
    """

    ids: Ids
    paths: Mapping[str, Path] = field(default_factory=dict, repr=False)
    columns: pl.DataFrame | None = None
    dataset: Dataset | None = None
    index: GalleryIndex | None = None
    where: str = "images"

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> Images:
        """Return the gallery of a dataset."""
        return cls(
            ids=dataset.gallery_ids,
            paths=dataset.images,
            dataset=dataset,
            where=dataset.protocol,
        )

    @classmethod
    def of_folder(cls, folder: str | Path, *, links: Links = "inside") -> Images:
        """Return every image below a folder; ids, and what a link may lead to, as in a folder
        dataset.

        Raises
        ------
        DatasetError
            If there is no such folder, or no image in it.
        """
        root = Path(folder)
        if not root.is_dir():
            raise DatasetError(f"{root}: no such folder. Check the path of the images.")
        below = root / "images" if (root / "images").is_dir() else root
        names = image_ids(below, links=links)
        if not names:
            raise DatasetError(f"{root}: expected image files, found none. Check the folder.")
        paths = {image_id: below / name for name, image_id in names.items()}
        return cls(ids=Ids(sorted(paths)), paths=paths, where=str(root))

    @classmethod
    def of_index(cls, index: GalleryIndex) -> Images:
        """Return the images of an index, to be added to another: a share of a gallery, say, that
        was encoded on another machine.
        """
        paths = zip(index.ids, index.images["path"], strict=True)
        columns = index.images.drop(RESERVED[1:])
        return cls(
            ids=index.ids,
            paths={i: Path(path) for i, path in paths if path is not None},
            columns=columns if columns.width > 1 else None,
            index=index,
            where=str(index.path),
        )

    @classmethod
    def open(
        cls,
        spec: str,
        *,
        split: str | None = None,
        options: Mapping[str, str] | None = None,
        catalog: PluginCatalog | None = None,
    ) -> Images:
        """Return what ``NAME:PATH``, or a folder of an index, of images or of both and queries,
        stands for.

        Raises
        ------
        OptionError, DatasetError, StoreError
            As :meth:`PluginCatalog.load_dataset`, :meth:`of_folder` and :meth:`GalleryIndex.open`.
        """
        name, colon, path = spec.partition(":")
        folder = Path(path if name == "folder" and colon else spec).expanduser()
        if not colon and (folder / MANIFEST).exists():
            return cls.of_index(GalleryIndex.open(folder))
        if (name == "folder" or not colon) and folder.is_dir():
            if not any((folder / table).exists() for table in TABLES):
                return cls.of_folder(folder, **folder_options(options or {}))
            spec = f"folder:{folder}"
        catalog = catalog or PluginCatalog.discover()
        return cls.of_dataset(catalog.load_dataset(spec, split=split, options=options))

    def with_columns(self, columns: pl.DataFrame, *, where: str) -> Images:
        """Return the images with columns to filter by; images without a row get nulls.

        Raises
        ------
        DatasetError
            If there is no ``image_id``, an id stands twice, or a column has a reserved name.
        """
        if "image_id" not in columns.columns:
            raise DatasetError(
                f"{where}: expected a column image_id, got {', '.join(columns.columns)}."
            )
        taken = [name for name in columns.columns if name in RESERVED[1:]]
        if taken:
            raise DatasetError(f"{where}: column {taken[0]!r} has a reserved name. Rename it.")
        columns = columns.with_columns(pl.col("image_id").cast(pl.String))
        Ids.distinct(columns["image_id"].to_list(), where=where)
        known = columns.filter(pl.col("image_id").is_in(list(self.ids)))
        if not known.height:
            raise DatasetError(f"{where}: none of its image_id is an image of {self.where}.")
        return replace(self, columns=columns)

    def without(self, ids: frozenset[str]) -> Images:
        """Return the images but some."""
        return replace(self, ids=Ids(i for i in self.ids if i not in ids))

    def refs(self) -> list[ImageRef]:
        """Return every image, in order."""
        return [ImageRef(i, self.paths.get(i)) for i in self.ids]

    def frame(self, part: int) -> pl.DataFrame:
        """Return the rows of ``gallery.parquet`` for these images."""
        paths = [os.fspath(self.paths[i].resolve()) if i in self.paths else None for i in self.ids]
        frame = pl.DataFrame(
            {"image_id": list(self.ids), "path": paths},
            schema={"image_id": pl.String, "path": pl.String},
        ).with_columns(part=pl.lit(part, pl.UInt32), row=pl.int_range(pl.len(), dtype=pl.UInt32))
        if self.columns is not None:
            frame = frame.join(self.columns, on="image_id", how="left", maintain_order="left")
        return frame


def folder_options(options: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of a plain folder; raise OptionError for any other."""
    for name in options:
        choose(name, ["links"], where="--dataset-set of a folder without queries")
    return dict(options)


def read_columns(path: str | Path) -> pl.DataFrame:
    """Return a table of columns to filter by: CSV, JSON lines or parquet.

    Raises
    ------
    DatasetError
        If it cannot be read.
    """
    path = Path(path)
    try:
        match path.suffix.lower():
            case ".csv":
                return pl.read_csv(io.BytesIO(source_bytes(path)))
            case ".jsonl":
                return pl.read_ndjson(io.BytesIO(source_bytes(path)))
            case ".parquet":
                return source_table(path)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise DatasetError(f"{path}: cannot be read as a table ({first_line(error)}).") from None
    raise DatasetError(f"{path}: expected a table .csv, .jsonl or .parquet.")
