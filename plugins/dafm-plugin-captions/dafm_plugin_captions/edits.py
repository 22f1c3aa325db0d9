"""A file of edited captions: the texts that somebody's language model wrote for each query.

Three published forms are read. An object from query id to one text or several. The owners' own
annotation records with texts added, as LDRE and SEIZE publish them, by ``id`` or ``pairid``. And an
object of lists in the order of the queries, as CIReVL's code writes it, which has no ids: the file
that has the order is asked for. What becomes of the texts stands in ``edited.py``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dafm_core.contract.items import Query
from dafm_core.errors import DatasetError, OptionError, closest
from dafm_core.ground.files import read_ids
from dafm_core.ground.sources import source_json

logger = logging.getLogger(__name__)

FOREIGN_FROM = 32
"""So many queries at once, none of them with a text, and the file belongs to another dataset."""
_IDS: Final = ("pairid", "id", "query_id")
_INSTRUCTIONS: Final = ("relative_caption", "caption", "instruction")
_FORMS = "Expected {'query id': ['a text', ...], ...}, or a form of CIReVL, LDRE or SEIZE."


@dataclass(frozen=True, eq=False)
class Edits:
    """Texts by query id.

    Parameters
    ----------
    path : Path
    texts : mapping of str to tuple of str
        Blank texts are left out.
    instructions : mapping of str to str
        The text of the query that each edit was made from, where the file says.
    """

    path: Path
    texts: Mapping[str, tuple[str, ...]] = field(repr=False)
    instructions: Mapping[str, str] = field(repr=False)
    _reported: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def read(
        cls, path: str | Path, *, order: str | Path | None = None, field: str | None = None
    ) -> Edits:
        """Read a file of edits.

        Parameters
        ----------
        path : path
        order : path, optional
            For texts without ids: the annotation file of their queries, or query ids, one a line.
        field : str, optional
            For records: the key of the texts; by default ``multi_..._opt`` of a language model.

        Raises
        ------
        OptionError
            If a file cannot be opened, or the order or field is missing.
        DatasetError
            If a file has none of the forms; names the first bad entry.
        """
        path = Path(path)
        content = _json(path, "edits")
        if isinstance(content, list):
            found = _of_records(content, field, path)
        elif isinstance(content, dict) and "modified_captions" in content:
            found = _of_lists(content, order, path)
        elif isinstance(content, dict):
            found = {key: (value, "") for key, value in content.items()}
        else:
            raise DatasetError(f"{path}: got a JSON {type(content).__name__}. {_FORMS}")
        texts = {
            query_id: _checked(value, query_id, path) for query_id, (value, _) in found.items()
        }
        if not any(texts.values()):
            raise DatasetError(f"{path}: expected at least one text, got none. {_FORMS}")
        told = {query_id: text for query_id, (_, text) in found.items() if text}
        return cls(path, texts, told)

    @property
    def sha256(self) -> str:
        """Hash of the texts by id, whatever form they were published in."""
        return hashlib.sha256(json.dumps(self.texts, sort_keys=True).encode()).hexdigest()

    def of(self, queries: Sequence[Query]) -> list[tuple[str, ...]]:
        """Return each query's texts; its own text where the file has none, which is logged once.

        Raises
        ------
        DatasetError
            If the file knows not one of many queries, or was made from another text.
        """
        found = [self.texts.get(query.id, ()) for query in queries]
        if len(queries) >= FOREIGN_FROM and not any(found):
            raise DatasetError(
                f"{self.path}: expected texts for the queries, got none for {len(queries)} of them "
                f"({queries[0].id!r}, ...). Is this the file of another dataset or split?"
            )
        for query in queries:
            self._check(query)
        lacking = {query.id for query, own in zip(queries, found, strict=True) if not own}
        if new := sorted(lacking - self._reported):
            self._reported.update(new)
            shown = ", ".join(new[:5]) + (", ..." if len(new) > 5 else "")
            logger.warning("%s: %d queries keep their own text: %s", self.path, len(new), shown)
        return [own or (query.text,) for query, own in zip(queries, found, strict=True)]

    def _check(self, query: Query) -> None:
        told = self.instructions.get(query.id)
        if told is not None and _words(told) not in _words(query.text):
            raise DatasetError(
                f"{self.path}: query {query.id!r}: expected an edit of {query.text[:50]!r}, got "
                f"one of {told[:50]!r}. Is this the file, or the order, of another split?"
            )


def ids_in(order: str | Path) -> list[str]:
    """Return the query ids of an annotation file, or of a list, in order.

    Raises
    ------
    OptionError
        If it cannot be opened.
    DatasetError
        If its records have no ids.
    """
    path = Path(order)
    if path.suffix != ".json":
        return list(read_ids(path))
    records = _json(path, "order")
    named = re.fullmatch(r"cap\.(\w+)\.(\w+)\.json", path.name)
    ids = []
    for number, record in enumerate(records if isinstance(records, list) else [None]):
        value = next((record[k] for k in _IDS if k in record), None) if record else None
        if value is None and named and isinstance(record, dict) and "candidate" in record:
            value = f"{named[1]}-{named[2]}-{number}"  # as dafm's fashioniq calls its queries
        if value is None:
            raise DatasetError(
                f"{path}: query {number}: expected {' or '.join(_IDS)}, got {str(record)[:60]}. "
                "Give the annotation file of the queries."
            )
        ids.append(str(value))
    return ids


def _of_records(content: list[Any], field: str | None, path: Path) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for number, record in enumerate(content):
        if not isinstance(record, dict) or not any(key in record for key in _IDS):
            raise DatasetError(
                f"{path}: query {number}: expected an object with {' or '.join(_IDS)}, got "
                f"{str(record)[:60]}. {_FORMS}"
            )
        field = field or _field(record, path)
        if field not in record:
            raise OptionError(
                f"{path}: query {number}: option 'field': no {field!r}{closest(field, record)}"
            )
        query_id = str(next(record[key] for key in _IDS if key in record))
        if query_id in found:
            raise DatasetError(f"{path}: query {query_id!r} stands twice. Leave one out.")
        told = next((str(record[key]) for key in _INSTRUCTIONS if key in record), "")
        found[query_id] = (record[field], told)
    return found


def _field(record: Mapping[str, Any], path: Path) -> str:
    """Return the key of the edits: several texts before one, no captioner's."""
    keys = [
        *(k for k in record if k.startswith("multi_") and k != "multi_caption_opt"),
        *(k for k in record if k.startswith("gpt") and "_" not in k),
    ]
    if not keys:
        raise OptionError(
            f"{path}: expected 'multi_MODEL_opt' or 'gpt-...' in its records, got "
            f"{', '.join(record)}. Name the key of the texts as --set field=KEY."
        )
    return keys[0]


def _of_lists(
    content: Mapping[str, Any], order: str | Path | None, path: Path
) -> dict[str, tuple[Any, str]]:
    if order is None:
        raise OptionError(
            f"{path}: has texts in the order of the queries, without ids. Give the annotation file "
            "of these queries as --set order=FILE."
        )
    ids, texts = ids_in(order), content["modified_captions"]
    told = content.get("instruction") or [""] * len(ids)
    if not isinstance(texts, list) or not isinstance(told, list):
        raise DatasetError(f"{path}: expected lists of texts. {_FORMS}")
    if not len(texts) == len(told) == len(ids):
        raise DatasetError(
            f"{path}: expected {len(ids)} texts, as {order} has queries, got {len(texts)} of "
            f"{len(told)} instructions. Is this the file of another split?"
        )
    return {i: (text, str(t)) for i, text, t in zip(ids, texts, told, strict=True)}


def _checked(value: Any, query_id: str, path: Path) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DatasetError(
            f"{path}: query {query_id!r}: expected a text or a list of texts, got "
            f"{repr(value)[:60]}. {_FORMS}"
        )
    return tuple(text.strip() for text in texts if text.strip())


def _json(path: Path, option: str) -> Any:
    try:
        return source_json(path)
    except OSError as error:
        raise OptionError(
            f"option {option!r}: {path} cannot be opened ({error.strerror or error}). Give the "
            f"JSON file as --set {option}=FILE."
        ) from None
    except ValueError as error:
        raise DatasetError(f"{path}: expected JSON, got something else ({error}).") from None


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
