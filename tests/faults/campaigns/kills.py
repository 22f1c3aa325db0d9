"""Processes that kill themselves (SIGKILL) before an executed line of the code that writes; then
the same command again, in a process of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from tests.conftest import DotProvider
from tests.faults.campaigns.outcome import Outcome
from tests.faults.forking import forked, wait
from tests.faults.killing import HOME, WRITING, files_below
from tests.faults.real_kills import make_dataset

Action = Callable[[Path], None]


def score(store: Path, *, name: str = "dot", seed: int = 0, overwrite: bool = False) -> None:
    """Score with features and neighbours, in blocks of three queries."""
    from dafm_core.scoring.score import score_provider

    score_provider(
        make_dataset(), name, DotProvider(seed), store=store, block_rows=3, overwrite=overwrite
    )


def _two(folder: Path) -> None:
    score(folder / "store")
    score(folder / "store", name="other", seed=1)


def _import(folder: Path) -> None:
    from dafm_core.formats.importing import import_scores
    from dafm_core.store.store import SimilarityStore

    rows = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    np.save(folder / "mine.npy", rows)
    import_scores(SimilarityStore.open(folder / "store"), "mine", folder / "mine.npy")


def _split(folder: Path) -> None:
    from dafm_core.store.editing import split_store
    from dafm_core.store.store import SimilarityStore

    split_store(SimilarityStore.open(folder / "store"), ("q0", "q1", "q2", "q3"), folder / "a")
    split_store(SimilarityStore.open(folder / "store"), ("q4", "q5", "q6"), folder / "b")


def _merge(folder: Path) -> None:
    from dafm_core.store.editing import merge_stores
    from dafm_core.store.store import SimilarityStore

    merge_stores([SimilarityStore.open(folder / part) for part in "ab"], folder / "merged")


def _train(folder: Path, fuser: str = "weighted") -> None:
    _cli("train", folder / "store", "--fuser", fuser, "--out", folder / "model")


def _fuse(folder: Path, suffix: str = ".npy") -> None:
    out = folder / f"fused{suffix}"
    _cli("fuse", folder / "store", "--model", folder / "model", "--out", out)


def _cli(*words: object) -> None:
    from dafm_core.cli.main import main

    if main([str(word) for word in words]):
        raise RuntimeError("the command failed")


ACTIONS: Final[Mapping[str, tuple[tuple[Action, ...], Action]]] = {
    "score into a new store": ((), lambda f: score(f / "store")),
    "score a second provider": (
        (lambda f: score(f / "store"),),
        lambda f: score(f / "store", name="other", seed=1),
    ),
    "score over a finished matrix": (
        (lambda f: score(f / "store"),),
        lambda f: score(f / "store", seed=1, overwrite=True),
    ),
    "import into a store": ((lambda f: score(f / "store"),), _import),
    "split": ((_two,), _split),
    "merge": ((_two, _split), _merge),
    "train over a model": ((_two, lambda f: _train(f, "mean")), _train),
    "fuse to npy": ((_two, _train), _fuse),
    "fuse to TREC": ((_two, _train), lambda f: _fuse(f, ".trec")),
    "fuse to parquet": ((_two, _train), lambda f: _fuse(f, ".parquet")),
}
"""What makes the folder ready, and the command that is killed."""


def _killed_at(line: int, action: Callable[[], None]) -> None:
    """Run an action in this process, which ends before the given line of the code that writes."""
    left = line

    def trace(frame, event, argument):
        nonlocal left
        if event == "call":
            name = frame.f_code.co_filename
            watched = name.startswith(str(HOME)) and name[len(str(HOME)) + 1 :].startswith(WRITING)
            return trace if watched else None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    action()
    sys.settrace(None)


def by_line(home: Path, *, every: int, kinds: tuple[str, ...] = tuple(ACTIONS)) -> list[Outcome]:
    """Kill each action at every n-th executed line."""
    return [_campaign(home / str(n), kind, every=every) for n, kind in enumerate(kinds)]


def _prepared(home: Path, kind: str) -> tuple[Path, Action, dict[str, bytes]]:
    """Return a folder to copy, the action, and the files after it undisturbed."""
    before, action = ACTIONS[kind]
    ready, whole = home / "ready", home / "whole" / "work"
    ready.mkdir(parents=True)
    for step in before:
        ending = forked(lambda step=step: step(ready))
        assert ending.code == 0, ending.err
    _copy(ready, whole)
    ending = forked(lambda: action(whole))
    assert ending.code == 0, ending.err
    return ready, action, files_below(whole)


def _campaign(home: Path, kind: str, *, every: int) -> Outcome:
    outcome = Outcome(kind, "SIGKILL by executed line")
    ready, action, expected = _prepared(home, kind)
    work, line = home / "killed" / "work", 0
    while True:
        _copy(ready, work)
        ending = forked(lambda: _killed_at(line, lambda: action(work)))  # noqa: B023
        if ending.code == 0:
            return outcome
        _judge(outcome, work, action, expected, f"{kind} at {line}: {ending.err[-200:]}")
        line += every


def _judge(
    outcome: Outcome, work: Path, action: Action, expected: Mapping[str, bytes], where: str
) -> None:
    """Repeat the command; count whether it gives what it gives undisturbed, and nothing else."""
    again = forked(lambda: action(work))
    if "Traceback" in again.err and "the command failed" not in again.err:
        outcome.add("tracebacks", f"{where} {again.err[-300:]}")
    elif again.code:
        outcome.add("lost", f"{where} refused: {again.err[-300:]}")
    else:
        found = files_below(work)
        differ = sorted(
            n for n in found.keys() | expected.keys() if found.get(n) != expected.get(n)
        )
        outcome.add("lost" if differ else "survived", f"{where} {differ}")


def at_random(home: Path, *, n_kills: int, seed: int = 0) -> Outcome:
    """Kill processes from outside at random moments, SIGKILL and SIGTERM in turn."""
    outcome = Outcome("score, train and fuse", "SIGKILL and SIGTERM from outside, at random")
    draw, kinds = (
        random.Random(seed),
        ("score into a new store", "train over a model", "fuse to npy"),
    )
    prepared = {kind: _prepared(home / str(n), kind) for n, kind in enumerate(kinds)}
    for number in range(n_kills):
        kind = kinds[number % len(kinds)]
        ready, action, expected = prepared[kind]
        work = home / "random" / "work"
        _copy(ready, work)
        child = os.fork()
        if child == 0:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            try:
                action(work)
            finally:
                os._exit(0)
        time.sleep(draw.uniform(0, 0.15))
        os.kill(child, signal.SIGKILL if number % 2 else signal.SIGTERM)
        wait(child, 60)
        _judge(outcome, work, action, expected, f"{kind}, random {number}")
    return outcome


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
