"""How many configurations have been measured on the same queries: a count kept beside a store.

The best of many looks better than it is, and by more the more there were. Whoever reads a result
needs the number; nobody remembers it. Options chosen within the training part (``tuning.py``)
are one configuration, however many there were to choose from.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock

from dafm_core.errors import StoreError
from dafm_core.ground.files import write_json
from dafm_core.ground.ids import is_text
from dafm_core.ground.sources import source_json

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.fusion.base import Fuser

logger = logging.getLogger(__name__)

FILE: Final = "trials.json"
FORMAT_VERSION: Final = 1


@dataclass(frozen=True)
class Trials:
    """Distinct configurations of learned fusers measured on the very same queries.

    Parameters
    ----------
    tried : int
        So far, those of this comparison included.
    new : int
        For the first time in this comparison.
    """

    tried: int
    new: int

    @property
    def words(self) -> str:
        """The count in a sentence."""
        if self.tried < 2:
            count = ("No", "One")[self.tried]
            return f"{count} configuration of a learned fuser has been measured on these queries."
        return (
            f"{self.tried} configurations of learned fusers have been measured on these queries "
            f"so far, {self.new or 'none'} of them now for the first time; the best of many "
            "flatters itself."
        )


class TrialLog:
    """The record kept in ``trials.json`` of a store.

    Parameters
    ----------
    folder : Path
        The store; where it cannot be written, counting goes on from what is there, with a warning.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def add(
        self, dataset: Dataset, fusers: Iterable[Fuser], providers: Iterable[str], *, design: str
    ) -> Trials:
        """Record what is measured on a dataset's queries, and return the count.

        Parameters
        ----------
        design : str
            How training and held-out queries are separated: another split is another trial.
        """
        stack = ", ".join(sorted(providers))
        described = {f"{_describe(f)} of {stack}; {design}" for f in fusers if f.kind == "learned"}
        ids = json.dumps([dataset.protocol, *sorted(dataset.query_ids)])
        key = hashlib.sha256(ids.encode()).hexdigest()
        try:
            with FileLock(self.path.with_name(f".{FILE}.lock")):
                record, before = self._merge(key, described, dataset.n_queries)
                write_json(self.path, record)
        except OSError as error:
            logger.warning("%s: the count of trials cannot be kept (%s).", self.path, error)
            _, before = self._merge(key, described, dataset.n_queries)
        return Trials(tried=len(before | described), new=len(described - before))

    def _merge(
        self, key: str, described: set[str], n_queries: int
    ) -> tuple[dict[str, Any], set[str]]:
        record = self._read()
        before = set(record["queries"].get(key, {}).get("configurations", []))
        both = sorted(before | described)
        entry = {"n_queries": n_queries, "configurations": both}
        return record | {"queries": record["queries"] | {key: entry}}, before

    def _read(self) -> dict[str, Any]:
        if not self.path.exists():
            return {"format_version": FORMAT_VERSION, "queries": {}}
        try:
            record: dict[str, Any] = source_json(self.path)
            if record["format_version"] == FORMAT_VERSION:
                _check(record["queries"])
                return record
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{self.path}: expected a record of trials, got a damaged file ({error}). "
                "Remove it to start counting again."
            ) from None
        raise StoreError(
            f"{self.path}: expected format {FORMAT_VERSION}, got {record['format_version']!r}. "
            "Upgrade dafm-core, or remove the file to start counting again."
        )


def _check(queries: Mapping[str, Any]) -> None:
    """Raise TypeError unless these are lists of configurations by query list, all of them texts."""
    for key, entry in queries.items():
        texts = [key, *entry["configurations"]]
        if not all(isinstance(text, str) and is_text(text) for text in texts):
            raise TypeError("a configuration is no text")


def _describe(fuser: Fuser) -> str:
    """Return the class and its options; a fuser of fusers is described by all of them."""

    def plain(value: Any) -> Any:
        return _describe(value) if hasattr(value, "params") else str(value)

    given = {name: value for name, value in fuser.params().items() if value is not None}
    return f"{type(fuser).__name__} {json.dumps(given, sort_keys=True, default=plain)}"
