"""Ids and their positions: queries by row, images by column, in one word for all rooms."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError, DafmError, DatasetError, closest


class Ids(tuple[str, ...]):
    """Distinct ids in an order that means something: the rows or the columns of a matrix.

    A tuple of strings, so that it compares, prints and slices as one.

    Raises
    ------
    DatasetError
        If an id stands twice; by :meth:`distinct`, which also says where.

    Examples
    --------
    >>> ids = Ids(["a", "b", "c"])
    >>> ids.positions(["c", "a"])
    array([2, 0])
    >>> "b" in ids, ids.get("z")
    (True, None)
    """

    @classmethod
    def distinct(cls, ids: Iterable[str], *, where: str) -> Ids:
        """Return the ids; raise DatasetError at the first that stands twice."""
        found = ids if isinstance(ids, Ids) else cls(ids)
        if len(found.place) < len(found):
            seen: set[str] = set()
            name = next(i for i in found if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise DatasetError(f"{where}: id {name!r} stands twice. Ids must be distinct.")
        return found

    @cached_property
    def place(self) -> dict[str, int]:
        """Position of each id."""
        return {name: position for position, name in enumerate(self)}

    def __contains__(self, name: object) -> bool:
        return name in self.place

    def get(self, name: str) -> int | None:
        """Return the position of an id, or None where it is unknown."""
        return self.place.get(name)

    def positions(
        self,
        names: Iterable[str],
        *,
        where: str = "ids",
        what: str = "id",
        error: type[DafmError] = AlignmentError,
    ) -> NDArray[np.int64]:
        """Return the positions of ids, (n,) int64.

        Parameters
        ----------
        where, what : str
            Start of the message, and what an id names: ``query``, ``gallery image``.
        error : type of DafmError
            Raised at the first unknown id, with the number of unknown ones and the closest match.
        """
        wanted = list(names)
        try:
            return np.array([self.place[name] for name in wanted], dtype=np.int64)
        except KeyError:
            unknown = [name for name in wanted if name not in self.place]
            raise error(
                f"{where}: no {what} {unknown[0]!r}{closest(unknown[0], self)} "
                f"({len(unknown)} of {len(wanted)} are unknown)."
            ) from None

    def where_in(self, other: Sequence[str]) -> NDArray[np.int64]:
        """Return where each of these ids stands in ``other``, (n,) int64; -1 where it is not."""
        place = other.place if isinstance(other, Ids) else Ids(other).place
        return np.array([place.get(name, -1) for name in self], dtype=np.int64)

    @cached_property
    def sha256(self) -> str:
        """Hash of the ids in order."""
        return hash_strings(self)


def hash_strings(strings: Iterable[str]) -> str:
    """Return the sha256 of strings in order, each with its length before it."""
    digest = hashlib.sha256()
    for text in strings:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
