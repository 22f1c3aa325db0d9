"""Whether the tests notice an error: small ones are made on purpose, one at a time.

    python tests/benchmarks/mutation.py [--seed 0] [--n 100] [--only statistics]

Of all places where one of the changes below is possible, ``n`` are drawn by seed; a larger ``n``
with the same seed adds to a smaller one. Each mutant is put into a copy of the tree, and the tests
of its module run there: the mirrored file and the module's doctests, then the rest of the mirrored
folder. A mutant is killed when a test fails or the time is up, and survives otherwise. Prints one
line per module, and the changed line of every survivor. Not collected by pytest; the last result
is in docs/explanation/testing.md.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import hypothesis  # noqa: F401  # loaded once, and not again for every mutant
import numpy as np  # noqa: F401
import polars as pl  # noqa: F401
import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("metrics", "evaluation", "comparison", "ground")
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
SYMMETRIC = ("min", "max", "minimum", "maximum", "isinstance")
"""Functions that give the same whichever argument comes first, or cannot go unnoticed."""
UNSEEN = ("annotation", "returns", "decorator_list", "args", "type_comment")
"""Fields of a syntax tree that are left as they are: types, and the defaults of parameters, which
are a choice and not logic."""


@dataclass(frozen=True)
class Mutant:
    """One change of one file: bytes ``start:stop`` of ``data`` become ``text``."""

    path: Path
    data: bytes = field(repr=False)
    kind: str
    start: int
    stop: int
    text: str

    @property
    def module(self) -> str:
        """Room and file, as ``metrics/functional``."""
        return self.path.relative_to(ROOT / "dafm_core").with_suffix("").as_posix()

    def source(self) -> bytes:
        """Return the file with the change."""
        return self.data[: self.start] + self.text.encode() + self.data[self.stop :]

    def diff(self) -> str:
        """Return where it is, and the lines before and after."""
        data = self.data
        first = data.rfind(b"\n", 0, self.start) + 1
        last = data.find(b"\n", self.stop)
        changed = data[first : self.start] + self.text.encode() + data[self.stop : last]
        where = f"{self.module}.py:{data.count(chr(10).encode(), 0, self.start) + 1} ({self.kind})"
        before = data[first:last].decode().strip()
        return f"{where}\n  - {before}\n  + {changed.decode().strip()}"


def mutants_of(path: Path) -> list[Mutant]:
    """Return every mutant of a file, in the order of the file."""
    data = path.read_bytes()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, kind, text in _changes(ast.parse(data)):
        start = starts[node.lineno - 1] + node.col_offset
        stop = (
            start if kind == "return early" else starts[node.end_lineno - 1] + node.end_col_offset
        )
        found.append(Mutant(path, data, kind, start, stop, text))
    return found


def _changes(tree: ast.AST) -> Iterator[tuple[ast.AST, str, str]]:
    """Yield (node, kind of change, text that replaces the node), for a tree and all below it."""
    for name, value in ast.iter_fields(tree):
        below = value if isinstance(value, list) else [value]
        # arguments of a call are looked at, parameters of a function are not
        if name in UNSEEN and not (name == "args" and isinstance(tree, ast.Call)):
            continue
        for child in below:
            # texts of errors say it well or badly; positions in them are not known either
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield from _changes(child)
    if isinstance(tree, ast.FunctionDef):
        last = tree.body[-1]
        if len(tree.body) - (ast.get_docstring(tree) is not None) > 1:
            yield last, "return early", "return\n" + " " * last.col_offset
        return
    if isinstance(tree, ast.expr):
        for kind, changed in _replacements(tree):
            yield tree, kind, ast.unparse(changed)


def _replacements(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Yield what may stand for an expression, with the kind of change."""
    match node:
        case ast.Compare():
            for i, operator in enumerate(node.ops):
                changed = copy.deepcopy(node)
                changed.ops[i] = COMPARISONS[type(operator)]()
                yield "comparison", changed
        case ast.Constant(value=int()) if not isinstance(node.value, bool):
            yield "constant", ast.Constant(node.value + 1)
            yield "constant", ast.Constant(node.value - 1)
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            yield "arithmetic", ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "and/or", ast.BoolOp(other, node.values)
        case ast.UnaryOp(op=ast.Not() | ast.Invert()):
            yield "dropped not", node.operand
        case ast.Call(args=[first, second, *others]) if not _is_symmetric(node):
            changed = ast.Call(node.func, [second, first, *others], node.keywords)
            yield "swapped arguments", changed


def _is_symmetric(call: ast.Call) -> bool:
    same = ast.unparse(call.args[0]) == ast.unparse(call.args[1])
    return same or ast.unparse(call.func).rpartition(".")[2] in SYMMETRIC


def draw(n: int, seed: int, only: str = "") -> list[Mutant]:
    """Return mutants of all rooms drawn by seed, those of modules with ``only`` in their name."""
    paths = [p for room in ROOMS for p in sorted((ROOT / "dafm_core" / room).glob("[!_]*.py"))]
    every = [mutant for path in paths for mutant in mutants_of(path)]
    random.Random(seed).shuffle(every)
    return [mutant for mutant in every[:n] if only in mutant.module]


class Tree:
    """A copy of the parts of the tree that tests of core need, with one mutant at a time.

    Parameters
    ----------
    timeout : float
        Seconds for one run of tests.
    """

    def __init__(self, folder: Path, timeout: float) -> None:
        self.folder = folder
        self.timeout = timeout
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        for name in ("dafm_core", "tests", "docs", "examples"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", folder)

    def survives(self, mutant: Mutant) -> bool:
        """Return whether no test of the mutant's module notices it."""
        path = self.folder / mutant.path.relative_to(ROOT)
        path.write_bytes(mutant.source())
        room, name = mutant.module.split("/")
        mirror = f"tests/{room}/test_{name}.py"
        try:
            return self.passes([mirror, f"dafm_core/{mutant.module}.py"]) and self.passes(
                [f"tests/{room}", f"--ignore={mirror}"]
            )
        finally:
            path.write_bytes(mutant.data)

    def passes(self, arguments: Sequence[str]) -> bool:
        """Run tests in a process of their own; False where one fails, or the time is up."""
        child = os.fork()
        if child == 0:
            self._run(arguments)
        until = time.monotonic() + self.timeout
        while time.monotonic() < until:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return status == 0
            time.sleep(0.05)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return False

    def _run(self, arguments: Sequence[str]) -> NoReturn:
        """Be the process that runs the tests: quiet, and with the copy's modules."""
        os.setsid()  # what a test starts is ended with it
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        os.chdir(self.folder)
        sys.path.insert(0, str(self.folder))
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        sys.dont_write_bytecode = True  # two mutants of one second and one size look alike
        loaded = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis, above
        options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=mutants", *loaded]
        status = 1
        try:
            status = int(pytest.main([*options, *arguments]))
        finally:  # whatever a mutant raises, the copy is its parent's to remove
            os._exit(status)


def main() -> None:
    """Run the tests on every drawn mutant, and print who survived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=100, help="mutants to draw")
    parser.add_argument("--only", default="", help="leave out modules without this in their name")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds of one run of tests")
    arguments = parser.parse_args()
    mutants = draw(arguments.n, arguments.seed, arguments.only)
    killed: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder), arguments.timeout)
        for room in sorted({mutant.module.split("/")[0] for mutant in mutants}):
            if not tree.passes([f"tests/{room}"]):
                sys.exit(f"tests/{room} fails, or is too slow, without any mutant. Mend it first.")
        for number, mutant in enumerate(mutants, start=1):
            if tree.survives(mutant):
                survived[mutant.module] += 1
                print(f"survived: {mutant.diff()}", flush=True)
            else:
                killed[mutant.module] += 1
            print(f"{number} of {len(mutants)}", end="\r", file=sys.stderr)
    print(f"\n{'module':<26}{'killed':>8}{'survived':>10}")
    for module in sorted({mutant.module for mutant in mutants}):
        print(f"{module:<26}{killed[module]:>8}{survived[module]:>10}")
    print(f"{'all':<26}{killed.total():>8}{survived.total():>10}   (seed {arguments.seed})")


if __name__ == "__main__":
    main()
