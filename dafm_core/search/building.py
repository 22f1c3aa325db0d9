"""Gallery indexes written: built, grown by ``--add``, cut by ``--remove``.

Features are written block by block and found again after a kill; images that are there already are
never encoded again. The manifest comes last: until then the index is what it was.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.catalog import PluginCatalog, find
from dafm_core.contract.descriptions import References
from dafm_core.contract.items import ImageRef
from dafm_core.contract.provider import (
    EncodingProvider,
    Features,
    Provider,
    has_dot_geometry,
    is_encoding,
    is_pair,
)
from dafm_core.datasets.base import QUERY_SCHEMA, Dataset
from dafm_core.errors import DatasetError, ImageError, OptionError, StoreError
from dafm_core.fusion.base import Fuser
from dafm_core.ground.blocks import BlockFile, forget
from dafm_core.ground.files import replacing
from dafm_core.ground.ids import Ids, hash_strings
from dafm_core.scoring.feature_cache import BLOCK_IMAGES, find_cached
from dafm_core.scoring.score import (
    MissingPolicy,
    Progress,
    check_features,
    features_key,
    load_with_options,
    named_errors,
    provider_facts,
    silent,
)
from dafm_core.search import state
from dafm_core.search.index import GalleryIndex, stored_array, stored_table
from dafm_core.search.live import LiveProvider, check_same
from dafm_core.search.manifest import MANIFEST, Entry, Kind, Manifest, Part
from dafm_core.search.sources import Images
from dafm_core.store.gallery import Gallery
from dafm_core.store.locks import writing
from dafm_core.store.store import PROVIDER_NAME

logger = logging.getLogger(__name__)

DTYPES = ("float32", "float16")
LOCK = "index"
"""Its file shows that a folder is that of an index, perhaps of one that is not finished."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Offer:
    """A provider as it comes to an index.

    Parameters
    ----------
    provider : Provider or None
        None for features made elsewhere.
    facts : mapping
        ``fingerprint``, ``code`` and ``options``, for the passport.
    references : {"one", "any", "none"}
    load : mapping
        ``provider`` and ``options``, where it can be loaded by name.
    features : callable, optional
        From images to features made elsewhere, in their order.
    """

    provider: Provider | None
    facts: Mapping[str, Any]
    references: References = "one"
    load: Mapping[str, Any] = field(default_factory=dict)
    features: Callable[[Ids], NDArray[np.float32]] | None = None

    @classmethod
    def named(
        cls, catalog: PluginCatalog, name: str, options: Mapping[str, str], own: str
    ) -> Offer:
        """Return a registered provider with options, to be called ``own``."""
        provider, recorded = load_with_options(catalog, name, options)
        info = find(catalog.providers, name, what="provider")
        paths = {option.name for option in info.options if option.kind == "path"}
        located = {
            k: str(Path(v).expanduser().resolve()) if k in paths else v for k, v in options.items()
        }
        return cls(
            provider=provider,
            facts={**provider_facts(provider, own), "options": recorded},
            references=getattr(provider, "references", info.references),
            load={"provider": name, "options": located},
        )

    @classmethod
    def of(cls, provider: Provider, name: str) -> Offer:
        """Return an object of one's own."""
        return cls(
            provider=provider,
            facts={**provider_facts(provider, name), "options": {}},
            references=getattr(provider, "references", "one"),
        )

    @property
    def kind(self) -> Kind:
        """What the index keeps of it."""
        if self.provider is None:
            return "given"
        if is_pair(self.provider):
            return "pair"
        return "encoding" if is_encoding(self.provider) else "row"

    @property
    def geometry(self) -> str:
        """How features compare, where anyone can say."""
        dot = self.provider is None or has_dot_geometry(self.provider)
        return "dot" if dot else ""


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
    images = _readable(images, offers, on_missing, progress)
    with writing_index(path):
        entries = {
            name: _with_part(path, _entry(name, offer, dtype), offer, images, progress)
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
        return _settle(path, manifest, images.frame(0), offers, bank, progress)


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
        _tidy(path, index.manifest)
        images = images.without(frozenset(index.ids.place))
        if not images.ids:
            raise DatasetError(f"{images.where}: every image is in {path} already.")
        offers = _offers_again(index, providers or {}, catalog, index.names)
        images = _readable(images, offers, on_missing, progress)
        part = len(index.manifest.part_rows)
        entries = {
            name: _with_part(path, entry, offers[name], images, progress)
            for name, entry in index.entries.items()
        }
        grown = replace(
            index.manifest,
            entries=entries,
            part_rows=(*index.manifest.part_rows, len(images.ids)),
        )
        frame = pl.concat([index.images, images.frame(part)], how="diagonal_relaxed")
        return _settle(path, grown, frame, offers, None, progress)


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
        _tidy(path, index.manifest)
        index.ids.positions(ids, where=str(path), what="image", error=DatasetError)
        frame = index.images.filter(~pl.col("image_id").is_in(list(ids)))
        if not frame.height:
            raise DatasetError(f"{path}: expected an image to be left, got all removed.")
        asked = {name for name, entry in index.entries.items() if _scores_bank(index, entry)}
        offers = _offers_again(index, providers or {}, catalog, asked)
        return _settle(path, index.manifest, frame, offers, None, progress)


def offers_of(
    providers: Sequence[str] | Mapping[str, Provider | Offer | Mapping[str, str]],
    catalog: PluginCatalog | None = None,
) -> dict[str, Offer]:
    """Return providers as offers, by name, sorted.

    Raises
    ------
    OptionError, ProviderError
        For unknown names or options, or a model that cannot be loaded.
    """
    asked = providers if isinstance(providers, Mapping) else {name: {} for name in providers}
    offers = {}
    for name in sorted(asked):
        if not PROVIDER_NAME.fullmatch(name):
            raise OptionError(f"provider {name!r}: expected a name of a-z, 0-9 and '-'.")
        value = asked[name]
        if isinstance(value, Offer):
            offers[name] = value
        elif isinstance(value, Mapping):
            catalog = catalog or PluginCatalog.discover()
            offers[name] = Offer.named(catalog, name, value, name)
        else:
            offers[name] = Offer.of(value, name)
    if not offers:
        raise OptionError("index: expected at least one provider, got none.")
    return offers


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
            _tidy(path, Manifest.read(path))
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


def _entry(name: str, offer: Offer, dtype: str) -> Entry:
    passport = {"source": "indexed", **offer.facts}
    return Entry(
        name=name,
        kind=offer.kind,
        geometry=offer.geometry,
        references=offer.references,
        passport=passport,
        load=offer.load,
        dtype=dtype if offer.kind in ("encoding", "given") else "",
    )


def _readable(
    images: Images, offers: Mapping[str, Offer], on_missing: MissingPolicy, progress: Progress
) -> Images:
    """Return the images that can be opened, where broken ones are to be skipped."""
    if on_missing == "error":
        return images
    broken = set()
    for done, image in enumerate(images.refs(), start=1):
        try:
            image.open()
        except ImageError as error:
            logger.warning("left out: %s", error)
            broken.add(image.id)
        progress("images", done, len(images.ids))
    if len(broken) == len(images.ids):
        raise ImageError(f"{images.where}: no image can be opened. Check the image folder.")
    return images.without(frozenset(broken))


def _with_part(path: Path, entry: Entry, offer: Offer, images: Images, progress: Progress) -> Entry:
    """Write features of new images as a part of their own; return the entry that knows it."""
    if not entry.has_features:
        return entry
    name, file = entry.name, path / entry.name / f"part-{len(entry.parts)}.npy"
    refs = images.refs()
    identity = {
        "provider": name,
        "fingerprint": entry.passport["fingerprint"],
        "images": images.ids.sha256,
        "dtype": entry.dtype,
    }
    blocks = BlockFile(
        file, n_rows=len(refs), block_rows=BLOCK_IMAGES, identity=identity, restart=True
    )
    encode = _encoder(offer, name, images, refs)
    width = entry.width
    for start, stop in blocks.pending():
        progress(f"gallery {name}", start, len(refs))
        features = encode(start, stop)
        width = width or features.shape[1:]
        if features.shape[1:] != width:
            raise StoreError(
                f"provider {name!r}: expected features of shape {width} per image, as in the "
                f"index, got {features.shape[1:]}."
            )
        rounded = features.astype(entry.dtype)
        check_features(rounded, stop - start, name, f"images {start}:{stop} as {entry.dtype}")
        blocks.write(start, rounded)
    progress(f"gallery {name}", len(refs), len(refs))
    digest = hash_strings(block.sha256 for block in blocks.blocks)
    blocks.commit()
    shape = stored_array(file).shape
    part = Part(rows=len(refs), sha256=digest)
    return replace(entry, width=shape[1:], parts=(*entry.parts, part))


def _encoder(
    offer: Offer, name: str, images: Images, refs: Sequence[ImageRef]
) -> Callable[[int, int], Features]:
    """Return what gives the features of images start:stop: a model, a cache, or a file."""
    if offer.features is not None:
        given = offer.features(images.ids)
        return lambda start, stop: given[start:stop]
    if offer.provider is None:
        raise OptionError(
            f"provider {name!r}: its features were made elsewhere. Give those of the new images "
            f"with --features {name}=FILE."
        )
    cached = find_cached(refs, fingerprint=features_key(name, offer.facts))
    if cached is not None:
        return lambda start, stop: np.asarray(cached[start:stop])
    model = cast(EncodingProvider, offer.provider)

    def encode(start: int, stop: int) -> Features:
        where = f"images {refs[start].id!r} to {refs[stop - 1].id!r}"
        with named_errors(name, where):
            features = np.asarray(model.encode_gallery(list(refs[start:stop])))
        check_features(features, stop - start, name, where)
        return features

    return encode


def _offers_again(
    index: GalleryIndex,
    given: Mapping[str, Provider | Offer | Mapping[str, str]],
    catalog: PluginCatalog | None,
    asked: Collection[str],
) -> dict[str, Offer]:
    """Return the providers of an index as offers, those asked for loaded as they were."""
    offers = {}
    for name, entry in index.entries.items():
        value = given.get(name, {})
        if isinstance(value, Mapping) and (entry.kind == "given" or name not in asked):
            offers[name] = Offer(provider=None, facts=entry.passport)
        elif isinstance(value, Mapping):
            if not entry.load:
                raise OptionError(
                    f"provider {name!r}: was handed over when the index was built, and is no "
                    f"plugin. Give it again: providers={{{name!r}: ...}}."
                )
            catalog = catalog or PluginCatalog.discover()
            options = {**entry.load["options"], **value}
            offers[name] = Offer.named(catalog, entry.load["provider"], options, name)
        else:
            offers[name] = value if isinstance(value, Offer) else Offer.of(value, name)
        provider = offers[name].provider
        if provider is not None:
            check_same(index.path, entry, provider)
    return offers


def _scores_bank(index: GalleryIndex, entry: Entry) -> bool:
    """Whether the model itself is needed to score the bank again."""
    return bool(index.manifest.bank) and not entry.is_dot and entry.kind != "pair"


def _settle(
    path: Path,
    manifest: Manifest,
    images: pl.DataFrame,
    offers: Mapping[str, Offer],
    bank: Dataset | None,
    progress: Progress,
) -> GalleryIndex:
    """Write a new state, make it the one that counts, and remove what it replaces."""
    number = manifest.state + 1
    folder = path / f"state-{number}"
    shutil.rmtree(folder, ignore_errors=True)  # half of one that was killed
    folder.mkdir(parents=True)
    state.write_table(folder, images)
    ids = Ids(images["image_id"].to_list())
    draft = replace(
        manifest,
        state=number,
        n_images=len(ids),
        gallery_sha256=ids.sha256,
        files={"gallery.parquet": ""},
    )
    index = GalleryIndex.draft(path, draft)
    live = {
        name: LiveProvider(index, entry, offers[name].provider)
        for name, entry in draft.entries.items()
    }
    note = state.write_neighbours(folder, live, progress)
    if bank is not None:
        draft = replace(draft, bank={**draft.bank, **_write_bank(path, bank, index, live)})
    if draft.bank:
        _write_bank_columns(path, folder, index, live, progress)
    final = replace(draft, files=state.hashes(folder), notes=(note,) if note else ())
    final.write(path)
    _tidy(path, final)
    return GalleryIndex.open(path)


def _tidy(path: Path, manifest: Manifest) -> None:
    """Remove what the manifest has replaced, also for a writer that was killed before it could."""
    for old in path.glob("state-*"):
        if old != path / f"state-{manifest.state}":
            shutil.rmtree(old, ignore_errors=True)
    for entry in manifest.entries.values():
        for p in range(len(entry.parts)):
            forget(path / entry.name / f"part-{p}.npy")


def _write_bank(
    path: Path, bank: Dataset, index: GalleryIndex, live: Mapping[str, LiveProvider]
) -> dict[str, Any]:
    """Keep the bank's queries and their features; return what the manifest says of them."""
    scoring = {name: p for name, p in live.items() if p.entry.kind != "given"}
    lacking = [name for name in live if name not in scoring]
    if lacking:
        raise OptionError(
            f"index: a bank cannot be scored by {lacking[0]!r}, whose features were made "
            "elsewhere. Build the index without a bank (--bank none)."
        )
    thin = state.thinned(bank, n_providers=len(live), n_gallery=index.n_images)
    dataset = state.bank_dataset(thin, state.image_dataset(index.images))
    for name, provider in scoring.items():
        if provider.entry.kind == "encoding":
            rows: list[Features] = []
            for start in range(0, dataset.n_queries, state.BLOCK):
                queries = dataset.iter_queries(start, min(start + state.BLOCK, dataset.n_queries))
                with named_errors(name, f"bank query {queries[0].id!r}"):
                    encoded = provider.encode(queries, [{}] * len(queries))
                    rows.append(np.asarray(encoded))
            state.save(path / name / "bank.npy", np.concatenate(rows))
    known = {i: str(path.resolve()) for i, path in dataset.images.items()}
    paths = [[known.get(i) for i in ids] for ids in dataset.queries["references"]]
    frame = dataset.queries.with_columns(paths=pl.Series(paths, dtype=pl.List(pl.String)))
    with replacing(path / "bank.parquet") as temporary:
        frame.write_parquet(temporary)
    return {"of": bank.protocol, "queries": dataset.n_queries, "providers": sorted(live)}


def _write_bank_columns(
    path: Path,
    folder: Path,
    index: GalleryIndex,
    live: Mapping[str, LiveProvider],
    progress: Progress,
) -> None:
    frame = stored_table(path / "bank.parquet")
    references = zip(frame["references"], frame["paths"], strict=True)
    known = {i: Path(p) for ids, ps in references for i, p in zip(ids, ps, strict=True) if p}
    queries = Dataset(
        protocol="bank",
        gallery_ids=index.ids,
        queries=frame.select(list(QUERY_SCHEMA)),
        images=known,
    )
    dataset = state.bank_dataset(queries, state.image_dataset(index.images))
    encoded = {
        name: np.array(stored_array(path / name / "bank.npy"))
        for name, provider in live.items()
        if provider.entry.kind == "encoding"
    }
    state.write_bank(folder, dataset, live, encoded, progress)
