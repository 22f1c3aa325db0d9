"""Gallery features on disk, keyed by what decides them, so that an image is encoded once.

The folder is ``DAFM_CACHE``, by default ``~/.cache/dafm``; everything in it can be deleted at any
time. A provider without a ``fingerprint`` says nothing of what decides its features, so nothing of
it is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dafm_core.contract.items import ImageRef
from dafm_core.contract.provider import Features
from dafm_core.ground.blocks import BlockFile, forget, is_recorded
from dafm_core.ground.files import cache_folder
from dafm_core.ground.sources import source_array

BLOCK_IMAGES = 256
"""Images per block: what a kill can lose."""


def cached_features(
    images: Sequence[ImageRef],
    encode: Callable[[Sequence[ImageRef]], Features],
    *,
    fingerprint: Mapping[str, str],
    on_block: Callable[[int], None] = lambda done: None,
) -> Features:
    """Return features of all images, encoding only blocks that are not in the cache.

    Parameters
    ----------
    images : sequence of ImageRef
    encode : callable
        Images -> features, one row each.
    fingerprint : mapping of str
        What decides the features besides the images; empty: encode everything, keep nothing.
    on_block : callable
        Told how many images are done.

    Returns
    -------
    ndarray of shape (len(images), ...)
        Memory-mapped where it is cached.
    """
    starts = range(0, len(images), BLOCK_IMAGES)
    if not fingerprint:
        parts = []
        for start in starts:
            parts.append(encode(images[start : start + BLOCK_IMAGES]))
            on_block(min(start + BLOCK_IMAGES, len(images)))
        return np.concatenate(parts)
    path = cache_folder() / "features" / f"{_key(images, fingerprint)}.npy"
    if not path.exists() or is_recorded(path):
        _encode_to(path, images, encode, fingerprint, on_block)
    on_block(len(images))
    return source_array(path)


def find_cached(images: Sequence[ImageRef], *, fingerprint: Mapping[str, str]) -> Features | None:
    """Return features that are in the cache already, memory-mapped, or None."""
    path = cache_folder() / "features" / f"{_key(images, fingerprint)}.npy"
    if not fingerprint or not path.exists() or is_recorded(path):
        return None
    return source_array(path)


def _encode_to(
    path: Path,
    images: Sequence[ImageRef],
    encode: Callable[[Sequence[ImageRef]], Features],
    fingerprint: Mapping[str, str],
    on_block: Callable[[int], None],
) -> None:
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():  # finished while this one waited, or by a process killed right after
            forget(path)
            return
        file = BlockFile(path, n_rows=len(images), block_rows=BLOCK_IMAGES, identity=fingerprint)
        for start, stop in file.pending():
            file.write(start, encode(images[start:stop]))
            on_block(stop)
        file.commit()
        file.forget()


def _key(images: Sequence[ImageRef], fingerprint: Mapping[str, str]) -> str:
    """Hash the fingerprint with each image's id, size and time of change."""
    digest = hashlib.sha256(json.dumps(dict(fingerprint), sort_keys=True).encode())
    for image in images:
        try:
            stat = image.path.stat() if image.path else None
        except OSError:
            stat = None
        digest.update(json.dumps([image.id, stat and [stat.st_size, stat.st_mtime_ns]]).encode())
    return digest.hexdigest()[:32]
