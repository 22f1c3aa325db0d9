"""``index.json``: the one file of a gallery index that changes, and so says what the index is.

    INDEX/index.json                  providers, parts of features, which state counts, hashes
    INDEX/NAME/part-P.npy             features of the images of one build or --add; never changed
    INDEX/NAME/bank.npy               features of the bank's queries
    INDEX/bank.parquet                the bank's queries
    INDEX/state-S/gallery.parquet     image_id, path, part, row, and whatever columns were given
    INDEX/state-S/NAME.neighbours.npy nearest others; bank.*.npy
    INDEX/state-S/NAME.moments.npz    of a large gallery, see moments.py
    INDEX/bank-V/part-P.npy           what the bank says, image by image: of a large gallery
    INDEX/bank-V/rows.npz             what is known of the bank's queries, for new images
    INDEX/bank-V/columns-P.npy        the means and spreads among it
    INDEX/codes-V/NAME.first-P.npy    short codes of a large gallery's features, see codes.py
    INDEX/codes-V/rest-P.npy          what is left out of those, of all providers side by side
    INDEX/codes-V/NAME.npz            how they are made
    INDEX/engine.json                 an engine's kind, and hashes of its files and of its features
    INDEX/engine-N/SPACE-NAME.bin     what it keeps of one provider; SPACE.bin: of all

Everything else is written first and under new names, so that a kill at any time leaves the index
as it was. How the files come about is ``parts.py``'s, ``settling.py``'s and
``state.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from dafm_core.contract.descriptions import References
from dafm_core.errors import StoreError
from dafm_core.ground.files import write_json
from dafm_core.store.manifest import SEAL, read_object, sealed

FORMAT_VERSION: Final = 1
MANIFEST: Final = "index.json"

Kind: TypeAlias = Literal["encoding", "row", "pair", "given"]
"""``given``: features made elsewhere, whose queries come with a vector of their own."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Features of some images: how many rows, and a hash of the checksums of their blocks."""

    rows: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What an index knows of one provider.

    Parameters
    ----------
    name : str
    kind : {"encoding", "row", "pair", "given"}
    geometry : str
        ``"dot"``, or ``""`` where only the provider itself can compare features.
    references : {"one", "any", "none"}
    passport : mapping
        ``fingerprint``, ``code`` and ``options``, as in the passport of a store.
    load : mapping
        ``provider`` and ``options``: how it is loaded again on this machine; empty for an object
        that was handed over.
    width : tuple of int
        Shape of one image's features.
    dtype : str
    parts : tuple of Part
    """

    name: str
    kind: Kind
    geometry: str = ""
    references: References = "one"
    passport: Mapping[str, Any] = field(default_factory=dict)
    load: Mapping[str, Any] = field(default_factory=dict)
    width: tuple[int, ...] = ()
    dtype: str = ""
    parts: tuple[Part, ...] = ()

    @property
    def is_dot(self) -> bool:
        """Whether its scores are inner products of vectors, one for each image."""
        return self.geometry == "dot" and len(self.width) == 1

    @property
    def has_features(self) -> bool:
        """Whether features of every image are kept."""
        return self.kind in ("encoding", "given")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of ``index.json``.

    Parameters
    ----------
    state : int
        The state folder that counts.
    n_images : int
    gallery_sha256 : str
        Of the ids in order.
    entries : mapping of str to Entry
        By name, sorted.
    part_rows : tuple of int
        Images of each build or --add, removed ones included.
    bank : mapping
        ``queries`` (how many), ``of`` (where they come from); empty without a bank. Of a large
        gallery also ``version`` (its folder), ``parts`` (hashes) and ``changed`` (images that came
        or went since it was made).
    codes : mapping
        ``version`` (their folder), ``parts`` (how many), ``made_of`` (how many there were when it
        was settled how they are made), ``files`` (hashes); empty without codes.
    notes : tuple of str
        What an answer must say of the index, e.g. that it has no neighbours.
    files : mapping of str to str
        sha256 of every small file of the state.
    """

    state: int
    n_images: int
    gallery_sha256: str
    entries: Mapping[str, Entry]
    part_rows: tuple[int, ...]
    bank: Mapping[str, Any] = field(default_factory=dict)
    codes: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_dot(self) -> bool:
        """Whether every provider's scores are inner products."""
        return all(entry.is_dot for entry in self.entries.values())

    def write(self, folder: Path) -> None:
        """Make this what the folder holds."""
        values = {"format": FORMAT_VERSION, **asdict(self)}
        values["entries"] = [asdict(self.entries[name]) for name in sorted(self.entries)]
        write_json(folder / MANIFEST, sealed(values))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Return the manifest of an index.

        Raises
        ------
        StoreError
            If the folder holds none, a newer one, or one that was changed by hand.
        """
        path = folder / MANIFEST
        if not path.exists():
            raise StoreError(
                f"{folder}: not a gallery index (no {MANIFEST}). Make one with dafm index."
            )
        values = read_object(path)
        if values.get("format") != FORMAT_VERSION:
            raise StoreError(
                f"{path}: expected index format {FORMAT_VERSION}, got {values.get('format')!r}. "
                "Upgrade dafm-core, or build the index again."
            )
        if sealed({k: v for k, v in values.items() if k != SEAL})[SEAL] != values.get(SEAL):
            raise StoreError(
                f"{path}: expected the content it was written with, got an edited or damaged file. "
                "Restore it, or build the index again."
            )
        entries = {entry["name"]: _entry(entry) for entry in values["entries"]}
        known = {
            key: value
            for key, value in values.items()
            if key not in ("format", SEAL, "entries", "part_rows", "notes")
        }
        return cls(
            **known,
            entries=entries,
            part_rows=tuple(values["part_rows"]),
            notes=tuple(values["notes"]),
        )


def _entry(values: Mapping[str, Any]) -> Entry:
    parts = tuple(Part(**part) for part in values["parts"])
    return Entry(**{**values, "width": tuple(values["width"]), "parts": parts})
