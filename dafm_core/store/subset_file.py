"""A model's own ranking of each query's subset, beside its rows: a unit of its own in a store.

    STORE/NAME/subset.parquet  query, candidate, score, as shortlist.parquet
    STORE/NAME/subset.json     manifest, written last: the provider, its passport, and a hash

CIRR's server takes two files, and a model may rank the six images of a set by another rule than
the gallery. Such a ranking decides Rs@K of this provider alone; fusers never see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dafm_core.datasets.base import Dataset
from dafm_core.errors import StoreError
from dafm_core.ground.files import sha256_of, write_json
from dafm_core.store.manifest import FORMAT_VERSION, read_manifest, sealed
from dafm_core.store.shortlist import Shortlist, read_shortlist, write_shortlist

LISTS: Final = "subset.parquet"
MANIFEST: Final = "subset.json"


def write_subset(
    folder: Path,
    lists: Shortlist,
    dataset: Dataset,
    *,
    passport: Mapping[str, Any],
    sources: Mapping[str, Any],
) -> None:
    """Put a ranking of subsets beside a provider's rows; one that is there is replaced.

    Parameters
    ----------
    folder : Path
        The provider's.
    lists : Shortlist
    dataset : Dataset
    passport : mapping
        Of the rows it goes with; under others it is refused.
    sources : mapping
        Name and sha256 of the file it was read from.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    write_shortlist(folder / LISTS, lists, dataset)
    facts = {
        "format": FORMAT_VERSION,
        "provider": folder.name,
        "passport_sha256": passport["sha256"],
        "sources": dict(sources),
        "files": {LISTS: sha256_of(folder / LISTS)},
    }
    write_json(folder / MANIFEST, sealed(facts))


def read_subset(folder: Path, dataset: Dataset, passport: Mapping[str, Any]) -> Shortlist | None:
    """Return a provider's ranking of subsets; None where it has none.

    Raises
    ------
    StoreError
        If it is damaged, or goes with other rows than the passport's.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    facts = read_manifest(path, required={"provider": str, "passport_sha256": str, "files": dict})
    if facts["passport_sha256"] != passport.get("sha256"):
        raise StoreError(
            f"{path}: goes with other scores than those of {folder.name!r}, which were replaced. "
            "Import it again with --subset-file, or remove the file."
        )
    if sha256_of(folder / LISTS) != facts["files"].get(LISTS):
        raise StoreError(f"{folder / LISTS}: was changed. Import it again with --subset-file.")
    return read_shortlist(folder / LISTS, dataset)
