"""The reproduction with ``dafm`` replaced by a recorder: does the command line take it?"""

import importlib
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.cli.main import COMMANDS, Parser

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "examples" / "reproduce_dafm.sh"
GUIDE = ROOT / "docs" / "how-to" / "reproduce-dafm.md"


def parse(argv):
    """Parse a command as dafm would; raises DafmError for what it would refuse."""
    module = importlib.import_module(f"dafm_core.cli.{COMMANDS[argv[0]][0]}")
    parser = Parser(prog=f"dafm {argv[0]}")
    module.add_arguments(parser)
    return parser.parse_args(argv[1:])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduce")
    log = folder / "log"
    stub = folder / "dafm"
    stub.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" >> {log}; printf "\\n" >> {log}\n')
    stub.chmod(0o755)
    paths = {"CIRR": "c i r r", "FASHIONIQ": "fiq", "WEIGHTS": "w", "OUT": str(folder / "out")}
    environment = {**os.environ, **paths, "PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["bash", str(SCRIPT)], env=environment, check=True)
    return [line.split("\0")[:-1] for line in log.read_text().splitlines()]


def test_every_command_of_the_script_is_understood(recorded):
    parsed = [parse(argv) for argv in recorded]
    scored = [args for argv, args in zip(recorded, parsed, strict=True) if argv[0] == "score"]
    assert len(scored) == 4 * 6  # models x (val, test1, bank, three categories)
    assert {args.provider for args in scored} == {"sprc", "clip4cir", "tgcir", "blip4cir"}
    assert scored[0].dataset == "cirr:c i r r"
    corrections = [s for args in scored for s in args.set if s.startswith("corrections=")]
    assert len(corrections) == 3


def test_fusers_and_options_named_there_exist(recorded):
    catalog = PluginCatalog.discover()
    for argv in recorded:
        args = parse(argv)
        if argv[0] in {"train", "incremental"}:
            assert args.fuser in catalog.fusers
        if argv[0] == "cases":
            assert args.fusers in catalog.fusers
        if argv[0] == "score" and args.provider in catalog.providers:
            known = {option.name for option in catalog.providers[args.provider].options}
            assert {pair.partition("=")[0] for pair in args.set} <= known


def test_without_paths_the_script_says_what_it_needs():
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "CIRR: the folder with captions/" in done.stderr


def test_every_command_of_the_guide_is_understood():
    text = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(r"```\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("dafm ")]
    assert len(commands) > 10
    for command in commands:
        parse(command[1:])
