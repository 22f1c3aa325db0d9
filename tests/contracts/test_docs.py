"""Documentation names what exists: commands, options, files, links, and public names."""

import re
from pathlib import Path

import pytest

import dafm_core
from dafm_core.catalog import PluginCatalog
from dafm_core.cli.main import COMMANDS, build_parser

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
def test_commands_in_the_pages_exist_with_their_options(page):
    for line in re.findall(r"^\s*(?:\.venv/bin/)?dafm (.+)$", page.read_text(), re.MULTILINE):
        words = line.split("#")[0].split()
        assert words[0] in COMMANDS, line
        known = {o for a in build_parser(words[0])._actions for o in a.option_strings}
        for word in words:
            if re.fullmatch(r"--[a-z-]+", word):
                assert word in known, line


def test_every_installed_provider_and_fuser_is_in_the_pages():
    text = "\n".join(page.read_text() for page in PAGES)
    catalog = PluginCatalog.discover()
    missing = [name for name in (*catalog.providers, *catalog.fusers) if f"`{name}`" not in text]
    assert not missing


@pytest.mark.parametrize("name", dafm_core.__all__)
def test_public_names_are_documented(name):
    assert (getattr(dafm_core, name).__doc__ or "").strip()
