"""Bits flipped in every file of a store and of a model; then everything is read and fused."""

from __future__ import annotations

import random
from pathlib import Path

from tests.faults.campaigns.kills import _train, _two
from tests.faults.campaigns.outcome import Outcome


def flips(home: Path, *, n_flips: int, seed: int = 0) -> Outcome:
    """Flip bits at random, one at a time, and use what they are in; to be run in a child."""
    outcome = Outcome("store and model", "a bit flipped, or a part cut out, in any file")
    home.mkdir(parents=True)
    _two(home)
    _train(home)
    right = _fused(home)
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
            verdict = "survived" if _fused(home) == right else "wrong"
            where = f"{path.name} at {place}"
        except Exception as error:
            from dafm_core.errors import DafmError

            ours = isinstance(error, DafmError)
            verdict = "survived" if ours else "tracebacks"
            where = f"{path.name} at {place}: {type(error).__name__}: {str(error)[:150]}"
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
