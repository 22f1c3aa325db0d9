"""Codes of a large gallery on disk: beside its features, part by part.

New images are coded as those before them were, until they are more than those; what a removed image
had stays, and is never read. What codes are is ``codes.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.files import replacing, sha256_of
from dafm_core.ground.progress import Progress
from dafm_core.search.cells import columns_file
from dafm_core.search.codes import Codes, Coding
from dafm_core.search.moments import Moments
from dafm_core.search.stored import stored_array

if TYPE_CHECKING:
    from dafm_core.search.index import GalleryIndex

N_LOOKED_AT: Final = 8192
"""Images by which codes are made."""
BLOCK: Final = 1 << 13
"""Images coded at a time."""


def folder_of(path: Path, codes: Mapping[str, Any]) -> Path:
    """Return where an index keeps its codes."""
    return path / f"codes-{codes['version']}"


def write_codes(
    index: GalleryIndex,
    moments: Mapping[str, Moments],
    known: Mapping[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """Write the codes of images that have none yet; return what the manifest says of all.

    Parameters
    ----------
    index : GalleryIndex
    moments : mapping of str to Moments
        By provider.
    known : mapping
        What the manifest said so far; empty without codes.
    """
    sizes = index.manifest.part_rows
    n_known = int(known.get("parts", 0))
    if not known or sum(sizes) > 2 * sum(sizes[: known["made_of"]]):
        known, n_known = {}, 0
    codes: dict[str, Any] = {
        "version": index.manifest.state,
        "made_of": len(sizes),
        **known,
        "parts": len(sizes),
        "files": dict(known.get("files", {})),
    }
    folder, new = folder_of(index.path, codes), []
    folder.mkdir(exist_ok=True)
    if not known:
        for name in index.names:
            _coding(index, name, moments[name]).save(folder / f"{name}.npz")
            new.append(folder / f"{name}.npz")
    codings = {name: Coding.load(folder / f"{name}.npz") for name in index.names}
    for p in range(n_known, len(sizes)):
        progress("codes", p, len(sizes))
        new += _write_part(index, p, folder, codings)
    progress("codes", len(sizes), len(sizes))
    codes["files"] |= {str(file.relative_to(index.path)): sha256_of(file) for file in new}
    return codes


def read_codes(index: GalleryIndex) -> Codes | None:
    """Return the codes of an index, memory-mapped, or None where it has none."""
    codes = index.manifest.codes
    if not codes:
        return None
    folder, parts = folder_of(index.path, codes), range(codes["parts"])
    return Codes(
        {name: Coding.load(folder / f"{name}.npz") for name in index.names},
        {
            name: [np.asarray(stored_array(folder / f"{name}.first-{p}.npy")) for p in parts]
            for name in index.names
        },
        [np.asarray(stored_array(folder / f"rest-{p}.npy")) for p in parts],
        [np.asarray(stored_array(columns_file(part))) for part in index.bank_parts],
        tuple(index.manifest.bank.get("providers", ())),
    )


def _coding(index: GalleryIndex, name: str, moments: Moments) -> Coding:
    places = np.linspace(0, index.n_images - 1, min(index.n_images, N_LOOKED_AT)).astype(np.int64)
    return Coding.of(moments, index.asked_before(name), index.features(name).take(places))


def _write_part(
    index: GalleryIndex, p: int, folder: Path, codings: Mapping[str, Coding]
) -> list[Path]:
    """Write the codes of one part, removed images included; return the files."""
    n, files = index.manifest.part_rows[p], list[Path]()
    with ExitStack() as stack:

        def new(name: str, width: int) -> NDArray[np.int8]:
            files.append(folder / name)
            temporary = stack.enter_context(replacing(folder / name))
            return np.lib.format.open_memmap(temporary, "w+", np.int8, (n, width))

        rest = new(f"rest-{p}.npy", sum(coding.n_rest for coding in codings.values()))
        start = 0
        for name, coding in codings.items():
            first, features = new(f"{name}.first-{p}.npy", coding.n_first), index.part(name, p)
            own = slice(start, start + coding.n_rest)
            for at in range(0, n, BLOCK):
                here = slice(at, at + BLOCK)
                codes = coding.codes(np.asarray(features[here]).astype(np.float32))
                first[here] = codes[:, : coding.n_first]
                rest[here, own] = codes[:, coding.n_first :]
            start = own.stop
    return files
