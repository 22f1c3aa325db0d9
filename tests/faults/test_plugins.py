"""One bad plugin is a row or a line that names it; everything else goes on."""

import json
import os
import signal
import sys

import numpy as np
import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.cli.main import main
from dafm_core.contract.contained import contained
from dafm_core.contract.descriptions import FuserInfo, Option, ProviderInfo
from dafm_core.errors import DafmError, ProviderError, SimilarityError
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


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a plugin: an entry point, and a module with this source."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(name, source):
        module = f"faulty_{name}"
        (tmp_path / f"{module}.py").write_text(source)
        facts = tmp_path / f"{module}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[dafm]\n{name} = {module}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        return module

    return add


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_plugin_is_a_row_and_takes_nothing_away(install, kind):
    install("bad", BAD[kind])
    install("good", GOOD)
    catalog = PluginCatalog.discover()
    rows = {status.name: status for status in catalog.plugins}
    assert rows["bad"].error
    assert "\n" not in rows["bad"].error
    assert not rows["bad"].provides
    assert rows["good"].provides == ("provider good",)
    assert "scenes-color" in catalog.providers
    assert "bad" not in catalog.providers


def test_what_a_plugin_prints_does_not_spoil_json(install, capsys):
    install("loud", "print('hello from plugin')\n" + GOOD.replace("'good'", "'loud'"))
    install("quits", BAD["exits at import"])
    for command in ("plugins", "providers"):
        assert main([command, "--json"]) == 0
        streams = capsys.readouterr()
        json.loads(streams.out)
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


def test_ctrl_c_in_foreign_code_is_the_users():
    with pytest.raises(KeyboardInterrupt), contained():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_errors_that_are_ours_pass_unchanged():
    with pytest.raises(DafmError, match=r"^as it was$"), contained():
        raise ProviderError("as it was")
