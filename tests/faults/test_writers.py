"""Several writers at once: nobody's work is lost, and nobody removes what another is writing."""

import os
import shutil
import subprocess
import sys
import threading

import pytest

from dafm_core.errors import StoreError
from dafm_core.ground import files
from dafm_core.store.locks import Visit, writing
from dafm_core.store.store import SimilarityStore
from tests.faults import real_writers
from tests.faults.conftest import content

ROUNDS = int(os.environ.get("DAFM_WRITER_ROUNDS", "6"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="writers need fork")
def test_two_providers_into_a_new_store_at_once(tmp_path):
    program = [sys.executable, real_writers.__file__, str(tmp_path), str(ROUNDS)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        program, check=True, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    codes = done.stdout.split("\n")[:-1]
    assert codes == ["2 0" if number % 2 else "0 0" for number in range(ROUNDS)], done.stderr
    for number in range(ROUNDS):
        found = content(tmp_path / str(number) / "store")
        assert set(found) == ({"two"} if number % 2 else {"one", "two"})
        assert len(set(found.values())) == 1


def test_who_waits_while_a_store_is_removed_is_seen_by_the_next(tmp_path):
    """A lock on a removed file keeps nobody out: the folder it stood in would be removed again."""
    folder = tmp_path / "store"
    folder.mkdir()
    first = Visit(folder)
    assert first.is_alone()
    visits = []
    waiting = threading.Thread(target=lambda: visits.append(Visit(folder)))
    waiting.start()
    waiting.join(timeout=0.3)  # until it waits; earlier is no less correct
    shutil.rmtree(folder)
    first.end()
    waiting.join()
    last = Visit(folder)
    assert not last.is_alone()
    visits[0].end()
    assert last.is_alone()
    last.end()


def test_a_store_made_for_nothing_is_removed_unless_somebody_else_is_in_it(tmp_path, dataset):
    folder = tmp_path / "store"
    with pytest.raises(ZeroDivisionError), SimilarityStore.filling(folder, dataset):
        raise ZeroDivisionError
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError), SimilarityStore.filling(folder, dataset):  # noqa: PT012
        other = Visit(folder)
        raise ZeroDivisionError
    assert (folder / "store.json").exists()
    other.end()


@pytest.mark.parametrize("left", ["", "12", "x y", "999999999 99999999999999999999", "\0"])
def test_a_lock_file_of_a_dead_process_holds_nobody_up(tmp_path, score, left):
    """The system lets a lock go when its process dies; what the file says is for people only."""
    folder = tmp_path / "store"
    folder.mkdir()
    for name in (".dot.lock", ".store.json.lock", ".visitors.lock"):
        (folder / name).write_text(left)
    score(folder)
    assert set(content(folder)) == {"dot"}


def test_who_holds_a_lock_is_named(tmp_path):
    with (
        writing(tmp_path, "dot"),
        pytest.raises(StoreError, match=rf"'dot' \(process {os.getpid()}, since \d\d:\d\d\)"),
        writing(tmp_path, "dot"),
    ):
        pass


def test_what_a_dead_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path, score):
    folder = tmp_path / "store"
    score(folder)
    goal = folder / "dot" / "passport.json"
    dead, alive = (files._temporary(goal, process) for process in (2**22 + 1, os.getppid()))
    for path in (dead, alive):
        path.write_text("half")
    score(folder, overwrite=True)
    assert not dead.exists()
    assert alive.exists()
