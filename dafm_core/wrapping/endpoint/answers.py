"""Answers that were paid for, kept by what was asked: one file per model and way of asking."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from dafm_core.errors import ProviderError
from dafm_core.ground.files import cache_folder


class Answers:
    """Answers on disk; each is there as soon as it is kept, whatever happens after.

    Parameters
    ----------
    identity : mapping of str
        What decides every answer besides the question: model, server, instructions.
    path : path or None
        File of the cache; by default one of ``DAFM_CACHE``, by the identity.
    where : str
        Start of error messages: the provider.

    Raises
    ------
    ProviderError
        If the file is of another identity, or no such cache.
    """

    def __init__(self, identity: Mapping[str, str], *, path: str | Path | None, where: str) -> None:
        self._identity = json.dumps(dict(identity), sort_keys=True)
        digest = hashlib.sha256(self._identity.encode()).hexdigest()[:32]
        self.path = Path(path or cache_folder() / "answers" / f"{digest}.sqlite")
        self._where = where
        self._check()

    def get(self, questions: Sequence[Any]) -> list[bytes | None]:
        """Return the answer to each question, None where there is none; questions are JSON."""
        with closing(self._open()) as database:
            found = [
                database.execute("SELECT value FROM answers WHERE key = ?", (key_of(q),)).fetchone()
                for q in questions
            ]
        return [None if row is None else row[0] for row in found]

    def keep(self, question: Any, answer: bytes) -> None:
        """Keep an answer."""
        with closing(self._open()) as database, database:
            row = (key_of(question), answer)
            database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", row)

    def any_answer(self) -> bytes | None:
        """Return any answer; None where there is none yet."""
        with closing(self._open()) as database:
            row = database.execute("SELECT value FROM answers LIMIT 1").fetchone()
        return None if row is None else row[0]

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60)

    def _check(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as database, database:
                database.execute("CREATE TABLE IF NOT EXISTS identity (value TEXT PRIMARY KEY)")
                database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value)")
                known = database.execute("SELECT value FROM identity").fetchone()
                if known is None:
                    database.execute("INSERT INTO identity VALUES (?)", (self._identity,))
        except (OSError, sqlite3.Error) as error:
            raise ProviderError(
                f"{self._where}: option 'cache': {self.path} cannot be used ({error}). Give "
                "another file."
            ) from None
        if known is not None and known[0] != self._identity:
            raise ProviderError(
                f"{self._where}: option 'cache': {self.path} has answers to other questions: "
                f"{self._difference(known[0])}. Give another file."
            )

    def _difference(self, known: str) -> str:
        theirs, ours = json.loads(known), json.loads(self._identity)
        name = next(n for n in sorted({*theirs, *ours}) if theirs.get(n) != ours.get(n))
        return f"{name} {theirs.get(name)!r} instead of {ours.get(name)!r}"


def key_of(question: Any) -> str:
    """Return a hash of a question."""
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
