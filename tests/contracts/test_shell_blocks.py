"""Every block of commands in docs says what it needs, or is run here, on scenes cut down to a few.

That each command is understood, whatever it needs, is tested in ``test_docs.py``. README says in
words what its blocks need.
"""

import re
import shlex
from pathlib import Path

import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "cli.md"]
COMMAND = re.compile(r"^\s*(?:dafm|make|pipx?|python3?|pytest|for|[A-Z_]+=\S+|\.venv/bin/\w+) ")
NEEDS = "# needs: "
RUN = ("docs/tutorials/from-no-labels.md",)


def shell_blocks(page):
    """Return the lines of every fenced block without a language, or indented one, of commands."""
    lines, blocks = page.read_text(encoding="utf-8").split("\n"), []
    fence, block = None, []
    for line in [*lines, ""]:
        if line.startswith("```"):
            if fence in ("", "sh", "bash"):
                blocks.append(block)
            fence, block = (line[3:].strip(), []) if fence is None else (None, [])
        elif fence is not None or line.startswith("    "):
            block.append(line)
        else:
            blocks.append(block)
            block = []
    return [block for block in blocks if any(map(COMMAND.match, block))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_block_says_what_it_needs_or_is_run(page):
    unmarked = [block for block in shell_blocks(page) if NEEDS not in block[0]]
    assert not unmarked or str(page.relative_to(ROOT)) in RUN, unmarked


@pytest.mark.parametrize("page", RUN)
def test_what_needs_nothing_runs(page, tmp_path, monkeypatch):
    load = PluginCatalog.load_dataset

    def few(self, spec, *, split=None, options=None):
        return load(self, spec, split=split, options={"families": "8", **(options or {})})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PluginCatalog, "load_dataset", few)
    blocks = [block for block in shell_blocks(ROOT / page) if NEEDS not in block[0]]
    commands = [line for block in blocks for line in block if line.strip()]
    assert commands
    for line in commands:
        name, *argv = shlex.split(line, comments=True)
        assert name == "dafm"
        assert main(argv) == 0, line
