"""Loading a model by folder or name, pinned: whatever goes wrong is one line that names it.

A name is resolved to a commit before anything is downloaded, so that the passport says which
weights were used, and a name that does not exist is known after one request.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dafm_core.errors import OptionError, ProviderError
from dafm_core.ground.files import sha256_of
from dafm_core.ground.printable import first_line
from dafm_core.wrapping.hub import pin
from dafm_core.wrapping.inference import Settings
from dafm_plugin_sentence_transformers.kinds import check_kind, parsed

_NOT_THE_MODEL = (".md", ".gitattributes", ".gitignore", ".png", ".jpg")
_OTHER_FORMATS = ("onnx", "openvino")
_DESCRIPTIONS = ("config_sentence_transformers.json", "modules.json", "config.json")
"""Files that say what a model is, of which each has at least one."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a model comes from.

    Parameters
    ----------
    name : str
        Folder, or name on the hub.
    revision : str or None
        The commit; None for a folder.
    identity : str
        What decides the weights, for the fingerprint.
    is_cached : bool
        Whether the hub could not be reached, so that only local copies are looked at.
    """

    name: str
    revision: str | None
    identity: str
    is_cached: bool = False


def find(model: str, revision: str | None, *, trust_remote_code: bool, where: str) -> Source:
    """Return the source of a model.

    Raises
    ------
    OptionError
        If a revision is given for a folder, or none is pinned for a model that runs its own code.
    ProviderError
        If there is no such folder, name or revision, or it is not to be had from here.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise OptionError(
                f"{where}: option 'revision': expected none for a folder, got {revision!r}. "
                "The files themselves are recorded."
            )
        if not any((folder / name).is_file() for name in _DESCRIPTIONS):
            raise ProviderError(  # before every file below it is read
                f"{where}: {folder} holds no model: none of {', '.join(_DESCRIPTIONS)}. Give the "
                "folder that the model was saved to."
            )
        return Source(name=str(folder), revision=None, identity=f"files sha256 {_hash(folder)}")
    if folder.is_file():
        raise ProviderError(f"{where}: expected a folder, got the file {folder}. Give its folder.")
    if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise ProviderError(f"{where}: {folder} does not exist. Give a model's folder or name.")
    if trust_remote_code and not _is_commit(revision):
        raise OptionError(
            f"{where}: option 'trust_remote_code': expected revision=COMMIT of 40 digits beside "
            f"it, got {revision!r}. Read the code at that commit first."
        )
    pinned = pin(model if "/" in model else f"sentence-transformers/{model}", revision, where)
    return Source(
        name=pinned.name,
        revision=pinned.commit,
        identity=f"{pinned.name}@{pinned.commit}",
        is_cached=pinned.is_cached,
    )


def load(kind: str, source: Source, settings: Settings, *, where: str, **arguments: Any) -> Any:
    """Return a model: ``kind`` is the name of a class of sentence-transformers.

    Raises
    ------
    ProviderError
        If its files cannot be used, or are of another kind.
    """
    import sentence_transformers

    check_kind(kind, _described(source), source.name, where)
    try:
        with _quiet():
            return getattr(sentence_transformers, kind)(
                source.name,
                revision=source.revision,
                local_files_only=source.is_cached,
                device=str(settings.device),
                model_kwargs={"dtype": settings.dtype},
                **arguments,
            )
    except Exception as error:  # whatever files can be wrong in, and code that comes with them
        raise ProviderError(
            f"{where}: {source.name!r} cannot be loaded as a {kind} ({type(error).__name__}: "
            f"{first_line(error)}). Is it complete, and a model of this kind?"
        ) from error


def _described(source: Source) -> dict[str, Any]:
    """Return what the small files of a model say of it, those that there are."""
    from sentence_transformers.util import load_file_path

    found = {}
    for name in _DESCRIPTIONS:
        try:
            path = load_file_path(
                source.name, name, revision=source.revision, local_files_only=source.is_cached
            )
            if path is not None:
                found[name] = parsed(Path(path).read_text(encoding="utf-8"))
        except Exception:  # noqa: S112  # whatever is wrong, loading the model says it better
            continue
    return found


def library_versions() -> str:
    """Return the versions of what computes, for the fingerprint."""
    import sentence_transformers
    import transformers

    return (
        f"sentence-transformers {sentence_transformers.__version__}, "
        f"transformers {transformers.__version__}"
    )


def _is_commit(revision: str | None) -> bool:
    digits = set("0123456789abcdef")
    return revision is not None and len(revision) == 40 and set(revision) <= digits


def _hash(folder: Path) -> str:
    """Return one hash of the files that a model is made of, whatever the folder is called."""
    hashes = {}
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and name not in _OTHER_FORMATS]
        for file in files:
            if file[0] != "." and not file.lower().endswith(_NOT_THE_MODEL):
                path = Path(root, file)
                hashes[path.relative_to(folder).as_posix()] = sha256_of(path)
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's own bars of progress off the terminal."""
    from transformers.utils import logging as library

    logging: Any = library  # its functions state no types
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()
