"""Asking installed plugins what they describe: from memory, else in a child process of its own.

A plugin that ends the interpreter, crashes it, prints, or never returns does all that in the child.
Those that are asked are asked side by side.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint
from typing import IO, TYPE_CHECKING, Any, Final

from dafm_core.contract.contained import contained
from dafm_core.discovery import memory
from dafm_core.discovery.child import load
from dafm_core.discovery.offers import Offers
from dafm_core.errors import ProviderError
from dafm_core.ground.sources import parsed_json

if TYPE_CHECKING:
    import subprocess

SECONDS: Final = 20.0
"""How long a plugin may take to describe itself; those here take a tenth of a second."""
LIMIT_VARIABLE: Final = "DAFM_PLUGIN_SECONDS"
AT_ONCE: Final = 12
"""Children that run at the same time: most of their time they wait for the disk."""
MOST_BYTES: Final = 2**24
"""Of an answer that are read."""


def describe(
    entries: Sequence[EntryPoint], *, ask_again: bool = False
) -> list[Offers | ProviderError]:
    """Return what each entry point offers, or why nothing.

    Parameters
    ----------
    entries : sequence of EntryPoint
    ask_again : bool
        Ask those too that are remembered for having crashed or not returned.
    """
    keys = [memory.key_of(entry) for entry in entries]
    answers = [memory.recall(e, key) for e, key in zip(entries, keys, strict=True)]
    waiting = [
        number
        for number, answer in enumerate(answers)
        if answer is None or (ask_again and "error" in answer)
    ]
    for number, answer in zip(waiting, _ask([entries[n] for n in waiting]), strict=True):
        answers[number] = answer
        if "offers" in answer or answer.get("ended"):  # what it raised may be mended elsewhere
            memory.remember(entries[number], keys[number], answer)
    return [_read(e, answer or {}) for e, answer in zip(entries, answers, strict=True)]


def _read(entry: EntryPoint, answer: dict[str, Any]) -> Offers | ProviderError:
    if "offers" not in answer:
        return ProviderError(str(answer.get("error", "it described nothing")))

    def defer(kind: str, name: str) -> Callable[..., Any]:
        return lambda **options: _factory(entry, kind, name)(**options)

    try:
        return Offers.from_json(answer["offers"], name=entry.name, defer=defer)
    except ProviderError as error:
        return error


def _factory(entry: EntryPoint, kind: str, name: str) -> Callable[..., Any]:
    """Return a factory that only the plugin itself holds, importing it."""
    with contained():
        offers = Offers.of(load(entry.name, entry.value), name=entry.name)
    factory: Callable[..., Any] = getattr(offers, kind)[name].factory
    return factory


def _ask(entries: Sequence[EntryPoint]) -> list[dict[str, Any]]:
    """Return what a child per entry point answers in time; a few run at once."""
    answers: list[dict[str, Any]] = []
    for first in range(0, len(entries), AT_ONCE):
        limit = _limit()
        children = [_start(entry) for entry in entries[first : first + AT_ONCE]]
        end = time.monotonic() + limit
        try:
            answers += [_answer(child, end, limit) for child in children]
        finally:
            for child in children:
                _end(child)
    return answers


def _start(entry: EntryPoint) -> subprocess.Popen[bytes]:
    import subprocess

    path = os.pathsep.join(place for place in sys.path if place)
    return subprocess.Popen(  # noqa: S603 -- this interpreter, and a module of ours
        [sys.executable, "-m", "dafm_core.discovery.child", entry.name, entry.value],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
    )


def _answer(child: subprocess.Popen[bytes], end: float, limit: float) -> dict[str, Any]:
    assert child.stdout is not None
    data = _read_until(child.stdout, end)
    if data is None:
        return {
            "error": f"it had not described itself after {limit:g} s; dafm plugins asks again",
            "ended": True,
        }
    while child.poll() is None and time.monotonic() < end:
        time.sleep(0.001)  # it has closed its output, and is about to end
    with suppress(ValueError):
        answer = parsed_json(data)
        if isinstance(answer, dict) and answer:
            return answer
    code = child.returncode or 0
    how = f"ended the interpreter (exit code {code})"
    if code < 0:
        how = f"crashed the interpreter ({signal.Signals(-code).name})"
    return {"error": f"it {how}; dafm plugins asks again", "ended": True}


def _read_until(stream: IO[bytes], end: float) -> bytes | None:
    """Return all that a child writes; None if it has not ended by then, or writes too much."""
    import selectors

    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while len(data) < MOST_BYTES:
            if not selector.select(timeout=max(0.0, end - time.monotonic())):
                return None
            part = os.read(stream.fileno(), 2**16)
            if not part:
                return data
            data += part
    return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and whatever it has started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    elif child.poll() is None:
        child.kill()
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _limit() -> float:
    try:
        return max(0.1, float(os.environ.get(LIMIT_VARIABLE, "")))
    except ValueError:
        return SECONDS
