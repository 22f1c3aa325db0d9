"""Ids and their positions: queries by row, images by column, in one word for all rooms."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError, DafmError, DatasetError, closest

LONGEST_ID: Final = 4096
"""Characters of an id, as of a path: every table and every message that names it has it in full."""
HASHED_AT_ONCE: Final = 4096
"""Strings: to hash them one by one takes several times as long."""


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
        """Return the ids; raise DatasetError at the first that stands twice, or that no table can
        hold.
        """
        found = ids if isinstance(ids, Ids) else cls(ids)
        if len(found.place) < len(found):
            seen: set[str] = set()
            name = next(i for i in found if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise DatasetError(f"{where}: id {name!r} stands twice. Ids must be distinct.")
        if found.unusable is not None:
            require_id(found.unusable, where=where)
        return found

    @cached_property
    def unusable(self) -> str | None:
        """The first id that :func:`require_id` refuses, if there is one."""
        if all(self) and max(map(len, self), default=0) <= LONGEST_ID and is_text("".join(self)):
            return None
        return next(n for n in self if not n or len(n) > LONGEST_ID or not is_text(n))

    @cached_property
    def tie_places(self) -> NDArray[np.int64]:
        """Each id's place in the order of SHA-256 hashes that breaks ties; see ``ordering.py``."""
        digests = b"".join(hashlib.sha256(name.encode()).digest() for name in self)
        words = np.frombuffer(digests, ">u8").reshape(-1, 4)
        places = np.empty(len(self), np.int64)
        places[np.lexsort(words.T[::-1])] = np.arange(len(self))
        places.flags.writeable = False
        return places

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


def require_id(name: str, *, where: str, longest: int = LONGEST_ID) -> None:
    """Raise DatasetError for an id that is empty, too long, or cannot be written."""
    if not name:
        raise DatasetError(f"{where}: expected an id, got an empty one. Give it a name.")
    if len(name) > longest:
        raise DatasetError(
            f"{where}: expected at most {longest:,} characters, got {len(name):,} "
            f"({name[:40]!r}...). Shorten it."
        )
    if not is_text(name):
        raise DatasetError(
            f"{where}: {name[:80]!r} holds half of a surrogate pair, which no file of text can "
            "hold. Correct it."
        )


def is_text(text: str) -> bool:
    """Whether UTF-8 can hold a string: half of a surrogate pair it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def hash_strings(strings: Iterable[str]) -> str:
    """Return the sha256 of strings in order, each with its length before it."""
    digest, rest = hashlib.sha256(), iter(strings)
    while some := [text.encode() for text in islice(rest, HASHED_AT_ONCE)]:
        digest.update(b"".join([len(data).to_bytes(8, "little") + data for data in some]))
    return digest.hexdigest()
