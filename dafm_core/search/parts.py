"""Features of new images, written as a part of their own: block by block, resumed after a kill."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from dafm_core.contract.items import ImageRef
from dafm_core.contract.provider import EncodingProvider, Features
from dafm_core.errors import ImageError, OptionError, StoreError
from dafm_core.ground.blocks import BlockFile
from dafm_core.ground.ids import hash_strings
from dafm_core.ground.progress import Progress
from dafm_core.scoring.boundary import check_features, named_errors
from dafm_core.scoring.broken import MissingPolicy
from dafm_core.scoring.facts import features_key
from dafm_core.scoring.feature_cache import BLOCK_IMAGES, find_cached
from dafm_core.search.index import GalleryIndex
from dafm_core.search.manifest import Entry, Part
from dafm_core.search.offers import Offer
from dafm_core.search.sources import Images
from dafm_core.search.stored import stored_array

logger = logging.getLogger(__name__)


def new_entry(name: str, offer: Offer, dtype: str) -> Entry:
    """Return what an index knows of a provider before any image is encoded."""
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


def readable(
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


def with_part(path: Path, entry: Entry, offer: Offer, images: Images, progress: Progress) -> Entry:
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
    encode = _encoder(offer, entry, images, refs)
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
    offer: Offer, entry: Entry, images: Images, refs: Sequence[ImageRef]
) -> Callable[[int, int], Features]:
    """Return what gives features of images start:stop: a model, an index, a cache or a file."""
    name = entry.name
    if images.index is not None and _has_encoded(images.index, entry):
        features = images.index.features(name)
        columns = images.ids.where_in(images.index.ids)
        return lambda start, stop: features.take(columns[start:stop])
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


def _has_encoded(index: GalleryIndex, entry: Entry) -> bool:
    """Whether an index has features of the same model, no coarser than those that are wanted.

    Of a model without a fingerprint nobody can say whether it is the same.
    """
    there = index.entries.get(entry.name)
    if there is None or there.kind != entry.kind or there.dtype not in ("float32", entry.dtype):
        return False
    if entry.kind == "given":
        return bool(there.passport.get("options") == entry.passport.get("options"))
    fingerprint = entry.passport.get("fingerprint")
    return bool(fingerprint) and there.passport.get("fingerprint") == fingerprint
