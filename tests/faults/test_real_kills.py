"""Processes that really end leave what ``killing.states`` says, and the next run finishes it."""

import os
import re
import subprocess
import sys

import pytest

from tests.faults import real_kills
from tests.faults.conftest import content
from tests.faults.killing import files_below, states

EVERY = int(os.environ.get("DAFM_KILL_EVERY", "25"))
"""Lines from one kill to the next; 1 kills at every executed line, which takes a minute."""
TEMPORARY = re.compile(r"(?<=-)\d+(?=\.)")


def normal(files):
    """Return files by name, whatever process wrote the temporary ones; measured times left out."""
    kept = {name: data for name, data in files.items() if b"peak_memory_gb" not in data}
    return frozenset((TEMPORARY.sub("0", name), data) for name, data in kept.items())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills need fork")
def test_killed_processes_leave_known_states_and_are_resumed(tmp_path):
    whole = tmp_path / "whole" / "store"
    known = set()
    for state in states(lambda: real_kills.run(whole), whole):
        kept = {n: b for n, b in state.files.items() if not n.endswith((".lock", "/"))}
        known.add(normal(kept))
    program = [sys.executable, real_kills.__file__, str(tmp_path / "killed"), str(EVERY)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    subprocess.run(program, check=True, env=os.environ | {"PYTHONPATH": path})
    stores = [folder / "store" for folder in (tmp_path / "killed").iterdir()]
    assert len(stores) > 10
    for store in stores:
        assert normal(files_below(store)) in known, store
        for name, value in content(store).items():
            assert value == content(whole)[name]
        real_kills.run(store)
        assert files_below(store) == files_below(whole), store
