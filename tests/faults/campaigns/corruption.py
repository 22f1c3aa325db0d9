"""Bits flipped in every file of a store and of a model; then everything is read and fused."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dafm_core.errors import DafmError
from tests.faults.campaigns.actions import ACTIONS, models, train, two
from tests.faults.campaigns.outcome import Outcome


def flips(home: Path, *, n_flips: int, seed: int = 0) -> Outcome:
    """Flip bits at random, one at a time, and use what they are in; to be run in a child."""
    home.mkdir(parents=True)
    two(home)
    train(home)
    outcome = Outcome("store and model", "a bit flipped, or a part cut out, in any file")
    return _flipped(outcome, home, lambda: _fused(home), n_flips, seed)


def index_flips(home: Path, *, n_flips: int, seed: int = 0) -> Outcome:
    """The same of a gallery index, which answers a query; to be run in a child."""
    from dafm_core.fusion.static import WeightedFusion
    from dafm_core.search.index import GalleryIndex
    from dafm_core.search.search import Search
    from dafm_core.store.store import SimilarityStore

    home.mkdir(parents=True)
    two(home)
    fuser = WeightedFusion().fit(SimilarityStore.open(home / "store").stack())
    ACTIONS["index"].action(home)

    def answered() -> bytes:
        index = GalleryIndex.open(home / "index")
        index.verify()
        search = Search(index, fuser, providers=models())
        return repr(replace(search.query(["i0"], "text", k=3), seconds=0.0)).encode()

    outcome = Outcome("gallery index", "a bit flipped, or a part cut out, in any file")
    shutil.rmtree(home / "store")
    return _flipped(outcome, home, answered, n_flips // 3, seed)


def _flipped(
    outcome: Outcome, home: Path, use: Callable[[], bytes], n_flips: int, seed: int
) -> Outcome:
    right = use()
    files = [p for p in sorted(home.rglob("*")) if p.is_file() and not p.name.endswith(".lock")]
    files = [p for p in files if p.name not in ("cost.json", "trials.json")]  # decide no number
    draw = random.Random(seed)
    for number in range(n_flips):
        path = files[number % len(files)]
        whole = path.read_bytes()
        place = draw.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        if number % 5 == 4:
            del damaged[place : place + draw.randrange(1, 64)]
        path.write_bytes(damaged)
        try:
            verdict = "survived" if use() == right else "wrong"
            where = f"{path.name} at {place}"
        except Exception as error:
            verdict = "survived" if isinstance(error, DafmError) else "tracebacks"
            where = f"{path.name}: {type(error).__name__}: {str(error)[:150]}"
        outcome.add(verdict, where)
        path.write_bytes(whole)
    return outcome


def _fused(home: Path) -> bytes:
    """Return the bytes of all that is computed from a store and a model."""
    from dafm_core.core_plugin import FUSERS
    from dafm_core.evaluation.evaluate import evaluate_providers
    from dafm_core.fusion.saving import load_fuser
    from dafm_core.store.store import SimilarityStore

    stack = SimilarityStore.open(home / "store").stack()
    fuser = load_fuser(home / "model", infos=FUSERS)
    run = fuser.fuse(stack)
    singles = [repr(value) for value in evaluate_providers(stack).values()]
    return run.scores.tobytes() + repr(singles).encode()
