import importlib
import os
import subprocess
import sys
import tomllib
from dataclasses import replace

import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.cli.main import main
from dafm_core.errors import OptionError
from dafm_core.scaffold import KINDS, write_plugin


def run(arguments, *folders, cwd=None):
    paths = [*folders, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A package of every kind, by kind."""
    folder = tmp_path_factory.mktemp("plugins")
    return {kind: write_plugin(f"my-{kind}2", folder, kind=kind) for kind in KINDS}


@pytest.fixture(scope="module")
def catalog(written):
    """What is installed, and the four plugins."""
    catalog = PluginCatalog.discover()
    with pytest.MonkeyPatch.context() as patch:
        for kind, root in written.items():
            patch.syspath_prepend(str(root))
            (package,) = (path.name for path in root.glob("dafm_plugin_*"))
            plugin = importlib.import_module(f"{package}.plugin")
            catalog.register(plugin, name=f"my-{kind}2", distribution=root.name)
        yield catalog


def test_it_writes_a_package(written):
    """Each kind has a licence, tests and CI, and whatever it offers in a module of its own."""
    own = {
        "provider": ["package/provider.py", "tests/test_plugin.py", "tests/test_provider.py"],
        "pair": ["package/provider.py", "tests/test_plugin.py"],
        "fuser": ["package/fuser.py", "tests/test_plugin.py"],
        "dataset": [
            *("package/dataset.py", "package/sample/gallery.txt", "package/sample/queries.tsv"),
            "tests/test_plugin.py",
        ],
    }
    common = [".github/workflows/test.yml", "LICENSE", "README.md", "pyproject.toml"]
    inside = ["package/__init__.py", "package/plugin.py", "package/py.typed"]
    for kind, root in written.items():
        package = f"dafm_plugin_my_{kind}2"
        paths = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        expected = [*own[kind], *common, *inside]
        assert paths == {path.replace("package/", f"{package}/") for path in expected}
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        assert project["name"] == root.name == f"dafm-plugin-my-{kind}2"
        assert project["entry-points"]["dafm"] == {f"my-{kind}2": f"{package}.plugin"}
        assert (project["license"], project["license-files"]) == ("MIT", ["LICENSE"])
        workflow = (root / ".github/workflows/test.yml").read_text()
        assert "${{ matrix.python }}" in workflow
        assert f"dafm check my-{kind}2" in workflow


def test_their_own_tests_pass_as_generated(written):
    """All at once: most of the time is spent on imports."""
    roots = [str(root) for root in written.values()]
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-W", "error"]
    result = run(["pytest", *options, *roots], *roots)
    assert result.returncode == 0, result.stdout + result.stderr
    n_passed = int(result.stdout.strip().splitlines()[-1].split()[0])
    assert n_passed >= 25, result.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_listed_and_pass_dafm_check(kind, catalog, monkeypatch, capsys):
    monkeypatch.setattr(PluginCatalog, "discover", lambda **_: catalog)
    listing = {"pair": "providers"}.get(kind, f"{kind}s")
    assert main([listing]) == 0
    assert f"my-{kind}2" in capsys.readouterr().out
    assert main(["check", f"my-{kind}2"]) == 0
    assert "0 failed" in capsys.readouterr().out


def test_a_reported_number_that_is_not_reached_fails(catalog, monkeypatch, capsys):
    monkeypatch.setattr(PluginCatalog, "discover", lambda **_: catalog)
    on_scenes = ["--on", "scenes", "--dataset-set", "families=24"]
    assert main(["check", "my-provider2", *on_scenes]) == 0
    assert "declared_recall" in capsys.readouterr().out
    info = catalog.providers["my-provider2"]
    too_much = replace(info, reported={"scenes-val-f24": {"recall@10": 50.0}})
    monkeypatch.setitem(catalog.providers, "my-provider2", too_much)
    assert main(["check", "my-provider2", *on_scenes]) == 2
    assert "R@10 is 7.74, reported 50.00" in " ".join(capsys.readouterr().out.split())


def test_they_are_in_house_style(written, pytestconfig):
    config = f"--config={pytestconfig.rootpath / 'pyproject.toml'}"
    for root in written.values():
        checked = run(["ruff", "check", "--no-cache", config, "."], cwd=root)
        formatted = run(["ruff", "format", "--check", "--no-cache", config, "."], cwd=root)
        assert checked.returncode == formatted.returncode == 0, checked.stdout + formatted.stdout


@pytest.mark.parametrize(
    ("name", "owner"),
    [("light", "dafm-core"), ("cirr", "dafm-core"), ("oracle", "no model can reach")],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_taken_name_is_noticed(name, owner, kind, tmp_path):
    with pytest.raises(OptionError, match=f"taken by .*{owner}"):
        write_plugin(name, tmp_path, kind=kind)
    assert not list(tmp_path.iterdir())


def test_the_name_of_an_installed_package_is_taken(tmp_path, monkeypatch):
    (tmp_path / "dafm_plugin_there.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(OptionError, match="installed package dafm_plugin_there"):
        write_plugin("there", tmp_path / "out", catalog=PluginCatalog())


def test_the_prefix_may_be_given(tmp_path):
    assert write_plugin("dafm-plugin-a", tmp_path) == tmp_path / "dafm-plugin-a"


@pytest.mark.parametrize("name", ["", "My", "a_b", "../x", "1a", "a--b", "-a", "a/b", "a\n"])
def test_other_names_are_one_line(name, tmp_path):
    with pytest.raises(OptionError, match="expected a name"):
        write_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "dafm-plugin-a").mkdir()
    with pytest.raises(OptionError, match="exists"):
        write_plugin("a", tmp_path)
    assert not list((tmp_path / "dafm-plugin-a").iterdir())
