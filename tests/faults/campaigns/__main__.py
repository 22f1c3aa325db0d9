"""``python -m tests.faults.campaigns``: all faults, and the table of the page on reliability.

python -m tests.faults.campaigns --write
python -m tests.faults.campaigns --only lines --save lines.json     # in pieces, side by side
python -m tests.faults.campaigns --merge lines.json rest.json --write
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from tests.faults.campaigns.outcome import Outcome
from tests.faults.forking import forked, import_everything

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "reliability.md"
HEAD = (
    "| what | fault | injected | survived | lost | wrong number | traceback |\n"
    "|---|---|---:|---:|---:|---:|---:|\n"
)
COUNTS = ("injected", "survived", "lost", "wrong", "tracebacks")


def in_child(make: Callable[..., Outcome], home: Path, **settings: int) -> Outcome:
    """Run a campaign in a fork, for it uses polars."""
    answer = home.parent / f"{home.name}.json"

    def run() -> None:
        logging.disable(logging.WARNING)
        answer.write_text(json.dumps(asdict(make(home, **settings))))

    ending = forked(run, seconds=7200)
    if ending.code:
        raise RuntimeError(ending.err)
    return Outcome(**json.loads(answer.read_text()))


PIECES = ("lines", "random", "flips", "inputs", "system", "ray")


def pieces(args: argparse.Namespace, home: Path) -> Iterator[Outcome]:
    """Run the pieces that are asked for."""
    from tests.faults.campaigns import corruption, fuzz, kills, ray_kills, system

    kinds = args.commands.split(",") if args.commands else list(kills.ACTIONS)
    for piece in args.only.split(","):
        match piece:
            case "lines":
                yield from kills.by_line(home / "l", most=args.most, kinds=kinds)
            case "random":
                yield kills.at_random(home / "r", n_kills=args.random, seed=args.seed, kinds=kinds)
            case "flips":
                for make in (corruption.flips, corruption.index_flips):
                    where = home / make.__name__
                    yield in_child(make, where, n_flips=args.flips, seed=args.seed)
            case "inputs":
                yield in_child(fuzz.fuzz, home / "z", n_inputs=args.inputs, seed=args.seed)
            case "system":
                yield from system.refusals(home / "s", kinds=kinds)
            case "ray":
                yield from ray_kills.ray_kills(home / "ray", n_kills=args.ray, seed=args.seed)
            case _:
                raise SystemExit(f"--only: no piece {piece!r}; known: {', '.join(PIECES)}")


def main() -> None:
    """Run every campaign; print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PIECES), help="pieces, by commas")
    parser.add_argument("--commands", help="those that are killed, by commas; all by default")
    parser.add_argument("--most", type=int, default=150, help="kills by line of one command")
    parser.add_argument("--random", type=int, default=300, help="kills at random moments")
    parser.add_argument("--flips", type=int, default=3000)
    parser.add_argument("--inputs", type=int, default=8000)
    parser.add_argument("--ray", type=int, default=10, help="kills under Ray, which are slow")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="keep what happened")
    parser.add_argument("--merge", type=Path, nargs="*", help="run nothing; take what was kept")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    args = parser.parse_args()
    if args.merge:
        kept = [record for path in args.merge for record in json.loads(path.read_text())]
        outcomes = [Outcome(**record) for record in kept]
    else:
        import_everything()
        with tempfile.TemporaryDirectory() as folder:
            os.environ["DAFM_CACHE"] = str(Path(folder) / "cache")
            started, outcomes = time.monotonic(), []
            for outcome in pieces(args, Path(folder)):
                outcome.minutes = (time.monotonic() - started) / 60
                started = time.monotonic()
                outcomes.append(outcome)
                if args.save:  # after each, for these take long
                    args.save.write_text(json.dumps([asdict(one) for one in outcomes]))
    for outcome in outcomes:
        for note in outcome.notes:
            print(f"{outcome.kind}: {note}")
    total = Outcome("**all**", f"{sum(outcome.minutes for outcome in outcomes):.0f} minutes")
    for outcome in outcomes:
        for count in COUNTS:
            setattr(total, count, getattr(total, count) + getattr(outcome, count))
    table = HEAD + "\n".join(outcome.row() for outcome in (*outcomes, total)) + "\n"
    print(table)
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        page = re.sub(r"(?s)(<!-- faults -->\n).*?(<!-- end -->)", rf"\1{table}\2", page)
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
