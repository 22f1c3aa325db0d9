"""Which dataset the two files of BLIP4CIR+Bi were trained on: their shapes are equal, so ask names.

The published files carry no dataset in their names, but their SHA1 is known.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from dafm_core.errors import OptionError

_SHA1 = {
    "67dca8a1905802cfd4cd02f640abb0579f1f88fd": "cirr",
    "327703361117400de83936674d5c3032af37bd7a": "cirr",
    "80f0db536f588253fca416af83cb50fab709edda": "fashioniq",
    "4a1ba45bf52033c245c420b30873f68bc8e60732": "fashioniq",
}
_NAMES = {"cirr": "cirr", "fiq": "fashioniq", "fashion": "fashioniq"}


def check_pair(text_encoder: Path, combiner: Path, where: str) -> None:
    """Raise OptionError where a text encoder and a Combiner are known to be of two datasets."""
    datasets = [dataset_of(path) for path in (text_encoder, combiner)]
    if None not in datasets and datasets[0] != datasets[1]:
        raise OptionError(
            f"{where}: expected a text_encoder and a combiner of one dataset, got "
            f"{text_encoder.name} ({datasets[0]}) and {combiner.name} ({datasets[1]}). "
            "Give the two that belong together."
        )


def dataset_of(path: Path) -> str | None:
    """Return the dataset a file was trained on, from its name or its SHA1; None if unknown."""
    named = {dataset for part, dataset in _NAMES.items() if part in path.name.lower()}
    if len(named) == 1:
        return named.pop()
    if not path.is_file():  # the reader says so
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False))
    return _SHA1.get(digest.hexdigest())
