"""Documentation names what exists: commands, options, files, links, layers, and public names."""

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import dafm_core
from dafm_core.catalog import PluginCatalog
from dafm_core.cli.main import COMMANDS, build_parser
from dafm_core.contract import hookspecs
from dafm_core.errors import DafmError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_has_every_option(name):
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    section = page.split(f"## dafm {name}\n")[1].split("\n## ")[0]
    for action in build_parser(name)._actions:
        for option in action.option_strings:
            assert option in section, f"{option}: run python docs/reference/make_cli.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_the_pages_are_understood(page):
    """Every ``dafm`` line is parsed whole: command, options, choices, what is required."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    for line in re.findall(r"^\s*(?:\.venv/bin/)?dafm (.+)$", text, re.MULTILINE):
        if line.startswith(("COMMAND", "[-h]")):
            continue
        command = re.split(r" (?:&&|\||>) ", line.replace(" … ", " "))[0]
        name, *words = shlex.split(command, comments=True)
        assert name in COMMANDS, line
        parser = build_parser(name)
        parser.check_options(words)
        parser.parse_args(parser.without_dashes(words))


def test_every_error_has_a_section_with_what_to_do():
    page = (ROOT / "docs/reference/errors.md").read_text()
    classes = {c.__name__ for c in DafmError.__subclasses__()}
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == classes


def test_every_hook_has_a_page():
    pages = {path.stem for path in (ROOT / "docs/reference/hooks").glob("*.md")}
    assert pages == {name for name in vars(hookspecs) if name.startswith("dafm_")}


def test_every_installed_provider_and_fuser_is_in_the_pages():
    text = "\n".join(page.read_text() for page in PAGES)
    catalog = PluginCatalog.discover()
    missing = [name for name in (*catalog.providers, *catalog.fusers) if f"`{name}`" not in text]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_named_in_the_pages_exist(page):
    text = page.read_text()
    for path in re.findall(r"`((?:dafm_core|plugins|tests|examples)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), path
    for dotted in re.findall(r"`(dafm_core(?:\.\w+)+)`", text):
        module, _, name = dotted.rpartition(".")
        place = ROOT / dotted.replace(".", "/")
        if not (place.with_suffix(".py").exists() or (place / "__init__.py").exists()):
            assert hasattr(importlib.import_module(module), name), dotted


def test_modules_that_modules_refer_to_exist():
    sources = [*ROOT.glob("dafm_core/**/*.py"), *ROOT.glob("plugins/*/dafm_plugin_*/**/*.py")]
    known = {part.as_posix() for path in sources for part in endings(path.relative_to(ROOT))}
    named = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in sources
        for name in re.findall(r"``([a-z_/]+\.py)``", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert {(path, name) for path, name in named if name not in known} == set()


def endings(path):
    """Return a path, the path without its first folder, and so on."""
    return [Path(*path.parts[start:]) for start in range(len(path.parts))]


def test_the_layers_in_the_pages_are_those_that_are_enforced():
    """The table of design.md, from the top, and the map of CONTRIBUTING, from the ground up."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    expected = [set(layer.split(" | ")) for layer in layers]
    design = (ROOT / "docs/explanation/design.md").read_text()
    rows = re.findall(r"^\| \d+ \| (.+?) \|", design, re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == expected
    there = {p.stem for p in (ROOT / "dafm_core").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert set().union(*expected) == there - {"__init__", "__main__", "__pycache__"}
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    map_of_rooms = contributing.split("| rooms |")[1].split("\n\n")[0]
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.+?) \|", map_of_rooms, re.MULTILINE)))
    depth = {room: level for level, layer in enumerate(expected) for room in layer}
    assert set(named) == set(depth)
    assert [depth[room] for room in named] == sorted((depth[room] for room in named), reverse=True)


@pytest.mark.parametrize("name", dafm_core.__all__)
def test_public_names_are_documented(name):
    assert (getattr(dafm_core, name).__doc__ or "").strip()
