"""Run as a program: two processes write two providers into one new store at the same moment.

    python real_writers.py FOLDER ROUNDS

In every second round the first of the two fails before its first row. Prints a line per round with
the exit codes of both.
"""

import os
import sys
from pathlib import Path

from dafm_core.errors import ProviderError
from dafm_core.scoring.score import score_provider
from tests.faults.real_kills import Rows, make_dataset


class Broken(Rows):
    """A provider that cannot score."""

    def similarity(self, queries, gallery):
        """Fail."""
        raise RuntimeError("out of memory")


def write(store, name, provider, gate):
    """Score in this process once the gate is closed; end with what a command would end with."""
    os.read(gate, 1)
    try:
        score_provider(make_dataset(), name, provider, store=store, block_rows=3)
    except ProviderError:
        os._exit(2)
    except BaseException as error:
        print(type(error).__name__, error, file=sys.stderr)
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    for number in range(rounds):
        gate, opener = os.pipe()
        processes = []
        for name in ("one", "two"):
            provider = Broken() if name == "one" and number % 2 else Rows()
            process = os.fork()
            if process == 0:
                os.close(opener)
                write(folder / str(number) / "store", name, provider, gate)
            processes.append(process)
        os.close(opener)  # both begin
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        os.close(gate)
        print(*codes, flush=True)
