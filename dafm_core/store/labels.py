"""What tables call providers and fusers: labels kept in ``labels.json`` of a store.

Names are for files and commands, so they are slugs; a paper prints "CLIP4CIR".
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from filelock import FileLock

from dafm_core.errors import OptionError, StoreError
from dafm_core.ground.files import write_json
from dafm_core.ground.ids import require_id
from dafm_core.ground.printable import first_line
from dafm_core.ground.sources import source_json

logger = logging.getLogger(__name__)

FILE: Final = "labels.json"


def kept_labels(store: str | Path) -> dict[str, str]:
    """Return the labels of a store, by name; empty where none was ever kept.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    path = Path(store) / FILE
    if not path.exists():
        return {}
    try:
        labels = source_json(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, first_line(error)) from None
    if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
        raise _damaged(path, "no object of texts")
    return labels


def keep_labels(store: str | Path, labels: Mapping[str, str]) -> dict[str, str]:
    """Add labels to those of a store, and return them all.

    Parameters
    ----------
    labels : mapping of str to str
        By name; an empty one takes back what was kept. Where the store cannot be written, they are
        returned all the same, with a warning.

    Raises
    ------
    OptionError
        If two names would be called the same.
    StoreError
        If what is kept there is damaged.
    """
    path = Path(store) / FILE
    try:
        with FileLock(path.with_name(f".{FILE}.lock")):
            merged = _merged(kept_labels(store), labels)
            write_json(path, merged)
    except OSError as error:
        logger.warning("%s: labels cannot be kept (%s).", path, error)
        merged = _merged(kept_labels(store), labels)
    return merged


def _merged(before: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, str]:
    merged = {name: label for name, label in {**before, **labels}.items() if label}
    shown: dict[str, str] = {}
    for name, label in merged.items():
        require_id(label, where=f"--label {name}")
        if label in shown or (label in merged and label != name):
            taken = shown.get(label, label)
            raise OptionError(f"--label: {label!r} is what {taken} is called. Choose another.")
        shown[label] = name
    return merged


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"{path}: expected an object of name -> label, got a damaged file ({why}). Remove it."
    )
