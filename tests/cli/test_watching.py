"""A model that crashes, leaves or never returns is one line that names it; the rest is kept."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dafm_core.cli.main import main
from dafm_core.store.store import SimilarityStore
from tests.faults.test_plugins import write_plugin

ODD = """
import atexit, ctypes, os, signal, threading, time
import numpy as np
from dafm_core.contract.descriptions import ProviderInfo
from dafm_core.contract.hookspecs import hookimpl

HOW = os.environ.get("HOW", "")

class Model:
    def similarity(self, queries, gallery):
        if queries[0].id != "q0" and HOW == "hangs":
            ctypes.PyDLL(None).sleep(3600)  # in C, and nothing else of Python runs meanwhile
        if queries[0].id != "q0" and HOW == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        if HOW == "leaves":
            os._exit(0)
        if HOW == "stays":
            os.write(1, b"past Python")
            os.chdir("/")
            atexit.register(os._exit, 7)
            threading.Thread(target=time.sleep, args=(3600,)).start()
        return np.ones((len(queries), len(gallery)), np.float32)

def load():
    if HOW == "hangs at loading":
        open(os.environ["SEEN"], "w").write(str(os.getpid()))
        time.sleep(3600)
    return Model()

@hookimpl
def dafm_similarity_providers():
    return [ProviderInfo(name="odd", summary="s", factory=load)]
"""
ENDS = {
    "hangs": r"provider 'odd' at queries 1:2: did not return within 3 s\. Finished blocks are kept",
    "hangs at loading": r"provider 'odd' at loading: did not return within 3 s\. Finished blocks",
    "crashes": r"provider 'odd' at queries 1:2: ended the process \(SIGSEGV\)\. Finished blocks",
    "leaves": r"provider 'odd' at queries 0:1: ended the process \(exit code 0\)\. Finished",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset of two queries, and a plugin with an odd model."""
    folder = tmp_path_factory.mktemp("odd")
    write_plugin(folder, "odd", ODD)
    (folder / "gallery.txt").write_text("a\nb\n")
    rows = [{"query_id": f"q{i}", "reference": "a", "text": "t", "targets": ["b"]} for i in (0, 1)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def start(folder, how, *more, words=None):
    """Start scoring into a store of that name, or another command."""
    scoring = ["score", f"folder:{folder}", "--provider", "odd", "--store", folder / how, "-q"]
    words = words or [*scoring, "--block", "1"]
    path = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    seen = str(folder / f"{how}.pid")
    return subprocess.Popen(
        [sys.executable, "-m", "dafm_core", *map(str, words), *more],
        env={**os.environ, "HOW": how, "SEEN": seen, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="watching needs fork")


@needs_fork
def test_whoever_ends_or_holds_up_the_process_is_named(folder):
    checked = start(folder, "leaves", words=["check", "odd"])
    running = {how: start(folder, how, "--timeout", "3") for how in ENDS}
    for how, process in running.items():
        out, err = process.communicate()
        assert (out, process.returncode) == ("", 2), err
        assert re.fullmatch(f"dafm: {ENDS[how]}.*\\n", err), err
    assert "'odd' at the checks: ended the process (exit code 0)" in checked.communicate()[1]
    assert checked.returncode == 2
    stores = {how: SimilarityStore.open(folder / how) for how in ("hangs", "crashes")}
    for store in stores.values():
        assert store.unfinished == ("odd",)
        log = (store.path / "odd" / "scores.progress.jsonl").read_text()
        assert len(log.splitlines()) == 2  # what is scored, and the block before


@needs_fork
def test_what_a_model_leaves_behind_neither_holds_nor_changes_the_end(folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["score", "folder:.", "--provider", "odd", "--store", "stays", "--block", "1"]
    process = start(folder, "stays", words=words)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "past Python" in err
    assert "past Python" not in out
    assert SimilarityStore.open(folder / "stays").providers == ("odd",)


@needs_fork
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_what_is_asked_of_the_process_reaches_the_one_that_works(folder, number, code):
    how = "hangs at loading"
    seen = folder / f"{how}.pid"
    seen.unlink(missing_ok=True)
    process = start(folder, how)
    while not (seen.exists() and seen.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    worker = int(seen.read_text())
    assert worker != process.pid
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code
    said = "dafm: asked to stop; repeat the command to resume.\n"
    assert err == (said if number == signal.SIGTERM else "")
    while Path(f"/proc/{worker}").exists():  # gone, and nobody waits for it for ever
        time.sleep(0.02)


def test_a_limit_that_nobody_could_keep_is_refused(folder, tmp_path, capsys):
    words = ["score", f"folder:{folder}", "--provider", "scenes-color", "--store", str(tmp_path)]
    for more, said in {
        ("--timeout", "0"): "expected seconds above 0, got 0",
        ("--timeout", "nan"): "expected seconds above 0, got nan",
        ("--timeout", "5"): "a process of its own",
    }.items():
        assert main([*words, *more]) == 2
        assert said in capsys.readouterr().err


ENDLESS = Path(__file__).parents[1] / "faults" / "files" / "endless-run.parquet"
"""A run of 2^61 cells in a page of 4 kB: polars asks for the memory, and aborts."""


@needs_fork
def test_a_table_whose_reader_ends_the_process_is_named(folder):
    words = ["import", ENDLESS, "--provider", "mine", "--store", folder / "imports"]
    process = start(folder, "imports", words=[*words, "--dataset", f"folder:{folder}"])
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert re.match(r"dafm: .*endless-run\.parquet: ", err.splitlines()[-1])
    assert "Traceback" not in err


@needs_fork
def test_a_damaged_store_that_ends_the_process_is_one_line(folder):
    store = folder / "damaged"
    words = ["score", f"folder:{folder}", "--provider", "odd", "--store", store, "-q"]
    start(folder, "", words=words).communicate(timeout=120)
    shutil.copy(ENDLESS, store / "queries.parquet")
    process = start(folder, "", words=["inspect", store])
    out, err = process.communicate(timeout=120)
    assert (out, process.returncode) == ("", 2), err
    assert re.match("dafm: .*(may be damaged|cannot be read)", err.splitlines()[-1])


def test_a_program_that_calls_two_commands_runs_each_once(tmp_path):
    """The child of the first would go on with the program."""
    call = "print('code', main(['inspect', 'no']), flush=True)\n"
    ended = subprocess.run(
        [sys.executable, "-c", "from dafm_core.cli.main import main\n" + 2 * call],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (ended.returncode, ended.stdout) == (0, "code 2\ncode 2\n")
