"""``python -m tests.faults.campaigns``: all faults, and the table of the page on reliability.

python -m tests.faults.campaigns --every 3 --flips 3000 --inputs 6000 --random 300 --write
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.faults.campaigns.outcome import Outcome
from tests.faults.forking import forked, import_everything

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "reliability.md"
HEAD = (
    "| what | fault | injected | survived | lost | wrong number | traceback |\n"
    "|---|---|---:|---:|---:|---:|---:|\n"
)


def in_child(make, home: Path, **settings: int) -> Outcome:
    """Run a campaign in a fork, for it uses polars."""
    answer = home.parent / f"{home.name}.json"

    def run() -> None:
        logging.disable(logging.WARNING)
        answer.write_text(json.dumps(asdict(make(home, **settings))))

    ending = forked(run, seconds=3600)
    if ending.code:
        raise RuntimeError(ending.err)
    return Outcome(**json.loads(answer.read_text()))


def main() -> None:
    """Run every campaign; print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=3, help="lines from one kill to the next")
    parser.add_argument("--random", type=int, default=300, help="kills at random moments")
    parser.add_argument("--flips", type=int, default=3000)
    parser.add_argument("--inputs", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    args = parser.parse_args()
    from tests.faults.campaigns import corruption, fuzz, kills

    import_everything()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ["DAFM_CACHE"] = str(home / "cache")
        outcomes = kills.by_line(home / "lines", every=args.every)
        if args.random:
            outcomes.append(kills.at_random(home / "random", n_kills=args.random, seed=args.seed))
        outcomes.append(in_child(corruption.flips, home / "f", n_flips=args.flips, seed=args.seed))
        outcomes.append(in_child(fuzz.fuzz, home / "z", n_inputs=args.inputs, seed=args.seed))
    total = Outcome("**all**", f"{(time.monotonic() - started) / 60:.0f} minutes")
    for outcome in outcomes:
        for count in ("injected", "survived", "lost", "wrong", "tracebacks"):
            setattr(total, count, getattr(total, count) + getattr(outcome, count))
        for note in outcome.notes:
            print(f"{outcome.kind}: {note}")
    table = HEAD + "\n".join(outcome.row() for outcome in (*outcomes, total)) + "\n"
    print(table)
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        page = re.sub(r"(?s)(<!-- faults -->\n).*?(<!-- end -->)", rf"\1{table}\2", page)
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
