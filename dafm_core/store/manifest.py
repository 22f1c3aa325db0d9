"""The JSON files that say what a store holds, each sealed by a hash of its own content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dafm_core.datasets.base import Dataset
from dafm_core.errors import StoreError
from dafm_core.ground.sources import source_json

FORMAT_VERSION = 2
SEAL = "sha256"


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values with the hash of the others under ``sha256``."""
    return {**values, SEAL: _digest(values)}


def read_manifest(path: Path, *, required: Mapping[str, type]) -> dict[str, Any]:
    """Return the content of a manifest.

    Parameters
    ----------
    path : Path
    required : mapping of str to type
        Fields that must be there, and of which kind.

    Raises
    ------
    StoreError
        If the file cannot be read, was edited, lacks a field, or is of a newer format.
    """
    values = read_object(path)
    version = values.get("format")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise StoreError(
            f"{path}: store format {version!r} is newer than {FORMAT_VERSION}, the newest this "
            "dafm reads. Upgrade dafm-core."
        )
    if version == FORMAT_VERSION and values.get(SEAL) != _digest(values):
        raise StoreError(
            f"{path}: expected the content it was written with, got an edited or damaged file. "
            "Restore it, or score again into a new store."
        )
    for field, kind in required.items():
        if not isinstance(values.get(field), kind):
            raise StoreError(
                f"{path}: expected a field {field!r} of type {kind.__name__}. The file is damaged."
            )
    return values


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object a file holds; raise StoreError where there is none."""
    try:
        values = source_json(path)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be read ({str(error)[:120]}). Score again into a new store."
        ) from None
    if not isinstance(values, dict):
        raise StoreError(f"{path}: expected a JSON object. The file is damaged.")
    return values


def shared_facts(dataset: Dataset) -> dict[str, Any]:
    """Return what ties a provider's folder to its store: what a model has seen."""
    return {
        "protocol": dataset.protocol,
        "queries_sha256": dataset.queries_sha256,
        "gallery_sha256": dataset.gallery_sha256,
        "dataset_options": dict(dataset.options),
    }


def store_facts(dataset: Dataset) -> dict[str, Any]:
    """Return the content of ``store.json``, without its seal."""
    return {
        "format": FORMAT_VERSION,
        **shared_facts(dataset),
        "truth_sha256": dataset.truth_sha256,
        "metrics": list(dataset.metrics),
        "n_queries": dataset.n_queries,
        "n_gallery": dataset.n_gallery,
    }


def _digest(values: Mapping[str, Any]) -> str:
    content = {key: value for key, value in values.items() if key != SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
