"""One bad plugin is a row or a line that names it; everything else goes on."""

import json
import os
import signal
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.cli.main import main
from dafm_core.contract.contained import contained
from dafm_core.contract.descriptions import FuserInfo, Option, ProviderInfo
from dafm_core.discovery import memory
from dafm_core.errors import DafmError, OptionError, ProviderError, SimilarityError
from dafm_core.ground.printable import first_line
from dafm_core.scoring.score import score_provider
from dafm_core.store.store import SimilarityStore

INFO = "ProviderInfo(name={name!r}, summary='s', factory='{module}:Build')"
HEAD = """
import sys, os
from dafm_core.contract.descriptions import *
from dafm_core.contract.hookspecs import hookimpl
class Build:
    def similarity(self, queries, gallery): return [[0.0] * len(gallery)] * len(queries)
"""
HOOK = """
@hookimpl
def dafm_similarity_providers():
    {body}
"""
GOOD = HEAD + HOOK.format(body="return [ProviderInfo(name='good', summary='s', factory=Build)]")


def hook(body):
    return HEAD + HOOK.format(body=body)


def info(fields):
    usual = "dict(name='bad', summary='s', factory=Build)"
    return hook(f"return [ProviderInfo(**dict({usual}, {fields}))]")


BAD = {
    "exits at import": "import sys; sys.exit(3)",
    "quits at import": "raise SystemExit('bye')",
    "interrupts at import": "raise KeyboardInterrupt",
    "raises at import": "1 / 0",
    "raises no exception at import": "class Odd(BaseException): pass\nraise Odd('odd')",
    "misses a package": "import no_such_package_anywhere",
    "is no Python": "def (",
    "recurses": "def f(): f()\nf()",
    "exits in its hook": hook("sys.exit(0)"),
    "interrupts in its hook": hook("raise KeyboardInterrupt"),
    "raises in its hook": hook("raise ValueError('in the hook')"),
    "returns a number": hook("return 7"),
    "returns texts": hook("return ['good']"),
    "returns a dataset": hook("return [DatasetInfo(name='x', summary='s', factory=Build)]"),
    "fails while it is read": hook("return (1 / 0 for _ in range(3))"),
    "takes a name of core": info("name='scenes-color'"),
    "names itself twice": hook(f"return 2 * [{INFO.format(name='bad', module='x')}]"),
    "has a number for a name": info("name=7"),
    "has a path for a name": info("name='../bad'"),
    "has an empty name": info("name=''"),
    "has a number for a summary": info("summary=7"),
    "has no factory": info("factory=None"),
    "has options that are none": info("options=['checkpoint']"),
    "has options None": info("options=None"),
    "has an option of an unknown kind": info("options=(Option(name='x', summary='', kind='y'),)"),
    "misspells its hook": HEAD + "@hookimpl\ndef dafm_similarity_provider(): return []",
    "is of another version": "dafm_api_version = 99\n" + GOOD,
    "has a list for a version": "dafm_api_version = [2]\n" + GOOD,
}  # fmt: skip


ENDING = {
    "crashes at import": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "aborts in its hook": hook("os.abort()"),
    "ends without a word": "import os; os._exit(0)",
    "ends with another code": "import os; os._exit(7)",
    "hangs at import": "import time\nwhile True: time.sleep(1)",
    "hangs in its hook": hook("import time; time.sleep(3600)"),
    "answers in our place": "import os; os.write(1, b'{}'); os._exit(0)",
    "starts a process that stays": "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])\ntime.sleep(3600)",
}
"""What no process can catch in itself."""


def write_plugin(folder, name, source):
    """Put a module with this source, and an entry point that names it, into a folder."""
    module = f"faulty_{name}"
    (folder / f"{module}.py").write_text(source)
    facts = folder / f"{module}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[dafm]\n{name} = {module}\n")
    return module


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a plugin."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(name, source):
        module = write_plugin(tmp_path, name, source)
        monkeypatch.delitem(sys.modules, module, raising=False)
        return module

    return add


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A catalog with every bad plugin installed at once, and a good one."""
    folder = tmp_path_factory.mktemp("crowd")
    kinds = [*BAD, *ENDING]
    for number, kind in enumerate(kinds):
        write_plugin(folder, f"bad{number}", (BAD | ENDING)[kind])
    write_plugin(folder, "good", GOOD)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("DAFM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("DAFM_PLUGIN_SECONDS", "8")
        yield kinds, PluginCatalog.discover()


@pytest.mark.parametrize("kind", [*BAD, *ENDING])
def test_a_bad_plugin_is_a_row_and_takes_nothing_away(crowd, kind):
    kinds, catalog = crowd
    rows = {status.name: status for status in catalog.plugins}
    row = rows[f"bad{kinds.index(kind)}"]
    assert row.error
    assert "\n" not in row.error
    assert not row.provides
    assert rows["good"].provides == ("provider good",)
    assert {"scenes-color", "good"} <= set(catalog.providers)
    assert "bad" not in catalog.providers
    if kind in ENDING:
        assert "after 8 s" in row.error or "the interpreter" in row.error
    assert not [name for name in sys.modules if name.startswith(("faulty_bad", "faulty_good"))]


def test_who_misses_a_provider_hears_what_did_not_load(crowd):
    with pytest.raises(OptionError, match=r"unknown provider 'bad'.*plugin 'bad0' did not load"):
        crowd[1].load_provider("bad")


def test_a_plugin_is_asked_once_until_it_changes(install, tmp_path, monkeypatch):
    count = f"open({str(tmp_path / 'asked')!r}, 'a').write('x')\n"
    module = install("good", count + GOOD)
    install("dies", count + ENDING["ends with another code"])
    asked = tmp_path / "asked"
    for _ in range(3):
        catalog = PluginCatalog.discover()
        assert "good" in catalog.providers
    assert len(asked.read_text()) == 2
    PluginCatalog.discover(ask_again=True)
    assert len(asked.read_text()) == 3  # the one that ended
    (tmp_path / f"{module}.py").write_text(count + GOOD.replace("'good'", "'better'"))
    assert "better" in PluginCatalog.discover().providers
    assert len(asked.read_text()) == 4


def test_a_factory_that_is_no_attribute_is_asked_for_when_it_is_used(install):
    made = "return [ProviderInfo(name='made', summary='s', factory=lambda: Build())]"
    install("made", hook(made))
    catalog = PluginCatalog.discover()
    assert "faulty_made" not in sys.modules
    assert catalog.load_provider("made").similarity([1], [2]) == [[0.0]]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"key": 1}', b"[" * 100_000])
def test_a_damaged_memory_is_no_memory(content):
    entry = EntryPoint("good", "faulty_good", "dafm")
    memory.remember(entry, "key", {"offers": 1})
    assert memory.recall(entry, "key") == {"offers": 1}
    assert memory.recall(entry, "another") is None
    memory._file(entry).write_bytes(content)
    assert memory.recall(entry, "key") is None


def test_what_a_plugin_prints_does_not_spoil_json(install, capfd):
    printing = "print('hello from plugin'); import os; os.write(1, b'hello from plugin')\n"
    install("loud", printing + GOOD.replace("'good'", "'loud'"))
    install("quits", BAD["exits at import"])
    assert main(["plugins", "--json"]) == 0
    streams = capfd.readouterr()
    rows = {row["name"]: row for row in json.loads(streams.out)}
    assert rows["loud"]["provides"] == ["provider loud"]
    assert "hello from plugin" not in streams.out


def build_and_exit(**options):
    sys.exit(4)


def build_and_interrupt(**options):
    raise KeyboardInterrupt


def build_and_fail(**options):
    raise TypeError("no such thing")


def build_nothing(**options):
    return None


FACTORIES = (build_and_exit, build_and_interrupt, build_and_fail, build_nothing, "nowhere:x")


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_factory_that_fails_is_named(factory):
    catalog = PluginCatalog()
    catalog.providers["mine"] = ProviderInfo(name="mine", summary="s", factory=factory)
    with pytest.raises(ProviderError, match="provider 'mine': "):
        catalog.load_provider("mine")
    catalog.fusers["mine"] = FuserInfo(name="mine", summary="s", factory=factory, kind="static")
    if factory is not build_nothing:
        with pytest.raises(ProviderError, match="fuser 'mine': "):
            catalog.load_fuser("mine")


def test_options_that_a_factory_changes_are_its_own():
    seen = []

    def build(**options):
        seen.append(dict(options))
        options.clear()
        return type("Rows", (), {"similarity": lambda self, q, g: None})()

    option = Option(name="checkpoint", summary="s", default="a")
    catalog = PluginCatalog()
    catalog.providers["mine"] = ProviderInfo(
        name="mine", summary="s", factory=build, options=(option,)
    )
    given = {"checkpoint": "b"}
    for _ in range(2):
        catalog.load_provider("mine", given)
    assert seen == [{"checkpoint": "b"}] * 2
    assert given == {"checkpoint": "b"}


class Rows:
    """Scores by what ``change`` makes of right ones."""

    def __init__(self, change):
        self._change = change

    def similarity(self, queries, gallery):
        return self._change(np.zeros((len(queries), len(gallery)), np.float32))


def leave(code=1):
    sys.exit(code)


def poke(rows, value):
    rows[0, 0] = value
    return rows


RESULTS = {
    "exits": lambda rows: leave(),
    "exits well": lambda rows: leave(0),
    "interrupts": lambda rows: (_ for _ in ()).throw(KeyboardInterrupt),
    "raises": lambda rows: 1 / 0,
    "memory": lambda rows: (_ for _ in ()).throw(MemoryError()),
    "recurses": lambda rows: RESULTS["recurses"](rows),
    "None": lambda rows: None,
    "a number": lambda rows: 1.0,
    "a text": lambda rows: "scores",
    "transposed": lambda rows: rows.T,
    "flat": lambda rows: rows.ravel(),
    "one row less": lambda rows: rows[1:],
    "one column more": lambda rows: np.c_[rows, rows[:, 0]],
    "three axes": lambda rows: rows[None],
    "ragged": lambda rows: [[0.0], [0.0, 1.0]],
    "NaN": lambda rows: poke(rows, np.nan),
    "infinite": lambda rows: poke(rows, np.inf),
    "too large": lambda rows: poke(rows.astype(np.float64), 1e300),
    "complex": lambda rows: rows.astype(complex),
    "texts": lambda rows: rows.astype(str),
    "objects": lambda rows: rows.astype(object),
    "truths": lambda rows: rows.astype(bool),
    "dates": lambda rows: rows.astype("datetime64[s]"),
    "fields": lambda rows: np.zeros(rows.shape, [("a", "f4")]),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_nonsense_from_a_provider_is_one_error_and_no_matrix(tmp_path, dataset, score, kind):
    folder = tmp_path / "store"
    score(folder)
    with pytest.raises((ProviderError, SimilarityError), match="provider 'bad': "):
        score_provider(dataset, "bad", Rows(RESULTS[kind]), store=folder)
    assert SimilarityStore.open(folder).providers == ("dot",)
    assert not (folder / "bad").exists()


@pytest.mark.parametrize("given", [["a"], b"a", 7, "text", {"a": np.nan}, {1: "a"}, {"a": {1}}])
def test_a_fingerprint_that_is_no_json_is_said(tmp_path, dataset, given):
    provider = Rows(lambda rows: rows)
    provider.fingerprint = given
    with pytest.raises(ProviderError, match="provider 'odd': expected its fingerprint"):
        score_provider(dataset, "odd", provider, store=tmp_path / "store")


class Greedy:
    """Changes everything that it is given."""

    def encode_gallery(self, images):
        return np.ones((len(images), 2), np.float32)

    def encode_queries(self, queries):
        n_queries = len(queries)
        queries.clear()
        return np.ones((n_queries, 2), np.float32)

    def similarity(self, queries, gallery):
        scores = queries @ gallery.T
        gallery += 1
        return scores


def test_features_cannot_be_changed_between_two_blocks(tmp_path, dataset):
    with pytest.raises(ProviderError, match=r"provider 'greedy': raised ValueError.*read-only"):
        score_provider(dataset, "greedy", Greedy(), store=tmp_path / "store", block_rows=5)


def test_lists_that_a_provider_changes_are_its_own(tmp_path, dataset):
    class Clearing:
        def similarity(self, queries, gallery):
            scores = np.zeros((len(queries), len(gallery)))
            queries.clear()
            gallery.clear()
            return scores

    store = score_provider(dataset, "clearing", Clearing(), store=tmp_path / "s", block_rows=5)
    assert store.scores("clearing").shape == (12, 9)


@pytest.mark.parametrize("how", ["cleared", "replaced", "none"])
def test_modules_are_found_after_a_plugin_has_changed_where(monkeypatch, how):
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", list(before))
    with contained():
        if how == "cleared":
            sys.path.clear()
        else:
            sys.path = ["/added"] if how == "replaced" else None
    assert set(before) <= set(sys.path)
    assert ("/added" in sys.path) == (how == "replaced")  # it may need what it has added


def test_what_belongs_to_the_whole_process_is_put_back(tmp_path, capsys):
    before = Path.cwd(), sys.getrecursionlimit(), np.geterr()
    with contained():
        os.chdir(tmp_path)
        sys.setrecursionlimit(10_000)
        np.seterr(all="raise")
        sys.stdout.close()
    assert (Path.cwd(), sys.getrecursionlimit(), np.geterr()) == before
    with contained():
        print("still open")
    assert capsys.readouterr().err == "still open\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("ends", [False, True])
def test_a_copy_of_the_process_does_not_go_on_in_its_place(ends):
    with contained():
        copy = os.fork()
        if not copy and ends:
            sys.exit(3)
    if not copy:
        os._exit(9)  # here it would work, and tidy up, as if it were the process
    assert os.waitpid(copy, 0)[1] == 0


def test_an_error_that_fails_to_say_what_it_is():
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    class Final(BaseException):
        __str__ = Mute.__str__

    assert first_line(Mute()) == "Mute"
    with pytest.raises(RuntimeError, match=r"^it raised Final, which would end"), contained():
        raise Final


def test_ctrl_c_in_foreign_code_is_the_users():
    with pytest.raises(KeyboardInterrupt), contained():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_errors_that_are_ours_pass_unchanged():
    with pytest.raises(DafmError, match=r"^as it was$"), contained():
        raise ProviderError("as it was")
