"""Gallery indexes written: built, grown by ``--add``, cut by ``--remove``.

Features are written block by block and found again after a kill; images that are there already are
never encoded again. The manifest comes last: until then the index is what it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl

from dafm_core.catalog import PluginCatalog
from dafm_core.contract.provider import Provider
from dafm_core.datasets.base import Dataset
from dafm_core.errors import DatasetError, OptionError, StoreError
from dafm_core.fusion.base import Fuser
from dafm_core.ground.ids import Ids
from dafm_core.ground.progress import Progress, silent
from dafm_core.scoring.broken import MissingPolicy
from dafm_core.search.index import GalleryIndex
from dafm_core.search.manifest import MANIFEST, Entry, Manifest
from dafm_core.search.offers import Offer, offers_again, offers_of
from dafm_core.search.parts import new_entry, readable, with_part
from dafm_core.search.settling import settle, tidy
from dafm_core.search.sources import Images
from dafm_core.store.gallery import Gallery
from dafm_core.store.locks import writing

DTYPES = ("float32", "float16")
LOCK = "index"
"""Its file shows that a folder is that of an index, perhaps of one that is not finished."""


def build_index(
    path: str | Path,
    images: Images | Dataset,
    providers: Sequence[str] | Mapping[str, Provider | Offer | Mapping[str, str]],
    *,
    fuser: Fuser | None = None,
    bank: Dataset | None = None,
    dtype: str = "float32",
    on_missing: MissingPolicy = "error",
    catalog: PluginCatalog | None = None,
    progress: Progress = silent,
) -> GalleryIndex:
    """Encode images with several frozen models into a gallery index; resume where it was killed.

    Parameters
    ----------
    path : path
        A new folder, or one in which a build was interrupted.
    images : Images or Dataset
    providers : sequence of str, or mapping
        Names; or names with options, provider objects, or offers.
    fuser : Fuser, optional
        The fusion that will answer: its providers are checked before anything is encoded, and its
        training queries, where ``images`` is a dataset that holds them, become the bank.
    bank : Dataset, optional
        Any queries, without labels, for the column statistics of this gallery.
    dtype : {"float32", "float16"}
        Of features on disk.
    on_missing : {"error", "skip"}
        What an image does that is missing or broken: ``skip`` leaves it out of the index.
    catalog, progress
        As for :func:`dafm_core.scoring.score.score`.

    Raises
    ------
    StoreError
        If the folder holds an index, or something else, or is being written.
    ProviderError, SimilarityError, ImageError
        As for :func:`dafm_core.scoring.score.score_provider`; finished blocks are kept.
    AlignmentError
        If the fuser was fitted on other providers.
    """
    path = Path(path)
    images = Images.of_dataset(images) if isinstance(images, Dataset) else images
    _check_target(path, dtype)
    offers = offers_of(providers, catalog)
    own_bank = bank is None
    if fuser is not None:
        _check_fuser(fuser, offers)
        if bank is None and all(offer.kind != "given" for offer in offers.values()):
            bank = training_queries(images, fuser)
    images = readable(images, offers, on_missing, progress)
    with writing_index(path):
        entries = {
            name: with_part(path, new_entry(name, offer, dtype), offer, images, progress)
            for name, offer in offers.items()
        }
        manifest = Manifest(
            state=0,
            n_images=0,
            gallery_sha256="",
            entries=entries,
            part_rows=(len(images.ids),),
            bank={"given": not own_bank} if bank is not None else {},
        )
        return settle(path, manifest, images.frame(0), offers, bank, progress)


def add_images(
    path: str | Path,
    images: Images | Dataset,
    *,
    providers: Mapping[str, Provider | Offer | Mapping[str, str]] | None = None,
    on_missing: MissingPolicy = "error",
    catalog: PluginCatalog | None = None,
    progress: Progress = silent,
) -> GalleryIndex:
    """Add images to an index; those that are in it already are not encoded again.

    Parameters
    ----------
    path : path
    images : Images or Dataset
        Ids that the index has already are passed over.
    providers : mapping, optional
        What cannot be loaded as it was: objects, offers with features made elsewhere.

    Raises
    ------
    DatasetError
        If every image is in the index already.
    AlignmentError
        If a provider is another model than the one that made the index.
    """
    path = Path(path)
    images = Images.of_dataset(images) if isinstance(images, Dataset) else images
    Manifest.read(path)  # no index, no folder made
    with writing_index(path):
        index = GalleryIndex.open(path)
        tidy(path, index.manifest)
        images = images.without(frozenset(index.ids.place))
        if not images.ids:
            raise DatasetError(f"{images.where}: every image is in {path} already.")
        offers = offers_again(index, providers or {}, catalog, index.names)
        images = readable(images, offers, on_missing, progress)
        part = len(index.manifest.part_rows)
        entries = {
            name: with_part(path, entry, offers[name], images, progress)
            for name, entry in index.entries.items()
        }
        grown = replace(
            index.manifest,
            entries=entries,
            part_rows=(*index.manifest.part_rows, len(images.ids)),
        )
        frame = pl.concat([index.images, images.frame(part)], how="diagonal_relaxed")
        return settle(path, grown, frame, offers, None, progress, before=index)


def remove_images(
    path: str | Path,
    ids: Sequence[str],
    *,
    providers: Mapping[str, Provider | Offer | Mapping[str, str]] | None = None,
    catalog: PluginCatalog | None = None,
    progress: Progress = silent,
) -> GalleryIndex:
    """Remove images from an index for good; their features stay on disk, and are never read.

    Raises
    ------
    DatasetError
        If an id is unknown, or none would be left.
    """
    path = Path(path)
    Manifest.read(path)
    with writing_index(path):
        index = GalleryIndex.open(path)
        tidy(path, index.manifest)
        index.ids.positions(ids, where=str(path), what="image", error=DatasetError)
        frame = index.images.filter(~pl.col("image_id").is_in(list(ids)))
        if not frame.height:
            raise DatasetError(f"{path}: expected an image to be left, got all removed.")
        asked = {name for name, entry in index.entries.items() if _scores_bank(index, entry)}
        offers = offers_again(index, providers or {}, catalog, asked)
        return settle(path, index.manifest, frame, offers, None, progress, before=index)


def training_queries(images: Images, fuser: Fuser) -> Dataset | None:
    """Return the queries of a dataset that a fusion was fitted on, to be its bank here too."""
    if images.dataset is None or not fuser.is_fitted:
        return None
    known = fuser.record_.query_ids | fuser.record_.bank_ids
    ids = [i for i in images.dataset.query_ids if i in known]
    return images.dataset.take(ids) if ids else None


@contextmanager
def writing_index(path: Path) -> Iterator[None]:
    """Hold the lock of an index, so that only one process writes it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror}). Choose another folder."
        ) from None
    with writing(path, LOCK):
        yield


def _check_target(path: Path, dtype: str) -> None:
    if dtype not in DTYPES:
        raise OptionError(f"index: expected dtype {' or '.join(DTYPES)}, got {dtype!r}.")
    if (path / MANIFEST).exists():
        with writing_index(path):
            tidy(path, Manifest.read(path))
        raise StoreError(
            f"{path}: holds an index already. Use --add or --remove, or another folder."
        )
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path}: expected a folder, got a file. Choose another name.")
    if path.exists() and any(path.iterdir()) and not (path / f".{LOCK}.lock").exists():
        raise StoreError(f"{path}: holds something else. Choose another folder.")


def _check_fuser(fuser: Fuser, offers: Mapping[str, Offer]) -> None:
    if fuser.is_fitted:
        passports = {name: offer.facts for name, offer in offers.items()}
        gallery = Gallery(names=tuple(offers), ids=Ids(["any"]), passports=passports)
        fuser.record_.check(gallery, who=fuser.name, may_lack=fuser.may_lack_providers)


def _scores_bank(index: GalleryIndex, entry: Entry) -> bool:
    """Whether the model itself is needed to score the bank again."""
    return bool(index.manifest.bank) and not entry.is_dot and entry.kind != "pair"
