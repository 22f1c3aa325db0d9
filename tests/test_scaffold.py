import os
import subprocess
import sys
import tomllib

import pytest

from dafm_core.errors import OptionError
from dafm_core.scaffold import write_plugin


def run(arguments, folder):
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_plugin("my-model2", tmp_path_factory.mktemp("plugins"))


def test_it_writes_a_package(written):
    paths = [path for path in written.rglob("*") if path.is_file()]
    assert written.name == "dafm-plugin-my-model2"
    assert sorted(str(path.relative_to(written)) for path in paths) == [
        "README.md",
        "dafm_plugin_my_model2/__init__.py",
        "dafm_plugin_my_model2/plugin.py",
        "dafm_plugin_my_model2/provider.py",
        "dafm_plugin_my_model2/py.typed",
        "pyproject.toml",
        "tests/test_plugin.py",
        "tests/test_provider.py",
    ]
    project = tomllib.loads((written / "pyproject.toml").read_text())["project"]
    assert project["name"] == "dafm-plugin-my-model2"
    assert project["entry-points"]["dafm"] == {"my-model2": "dafm_plugin_my_model2.plugin"}
    assert "class MyModel2:" in (written / "dafm_plugin_my_model2" / "provider.py").read_text()


def test_its_own_tests_pass_as_generated(written):
    result = run(["pytest", "-q", "-p", "no:cacheprovider"], written)
    assert result.returncode == 0, result.stdout + result.stderr
    n_passed = int(result.stdout.strip().splitlines()[-1].split()[0])
    assert n_passed >= 15, result.stdout


def test_it_is_in_house_style(written, pytestconfig):
    config = f"--config={pytestconfig.rootpath / 'pyproject.toml'}"
    checked = run(["ruff", "check", "--no-cache", config, str(written)], written)
    formatted = run(["ruff", "format", "--check", "--no-cache", config, str(written)], written)
    assert checked.returncode == formatted.returncode == 0, checked.stdout + formatted.stdout


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
