"""What a command will write, looked at before it begins: can it, and would it harm anything?"""

from __future__ import annotations

import argparse
from pathlib import Path

from dafm_core.cli.exporting import EXPORTS
from dafm_core.errors import OptionError
from dafm_core.ground.goals import goal_of, is_stream, require_writable

MANIFESTS = ("store.json", "passport.json", "fuser.json")
"""A folder with one of these belongs to a store or a model."""
WRITES_STORE = ("score", "import")
WRITES_FOLDER = ("train", "submit", "split", "merge")
PAGES = (".html", ".htm")
OWN_CHECK = ("demo", "new-plugin")
"""Commands that look at their ``--out`` themselves."""


def check_outputs(args: argparse.Namespace) -> None:
    """Raise OptionError for an output that cannot be written, is part of a store or a model, or is
    asked for twice; nothing is written.
    """
    named = {name: getattr(args, name, None) for name in EXPORTS}
    files = {f"--{n.replace('_', '-')}": p for n, p in named.items() if isinstance(p, Path)}
    taken: dict[Path, str] = {}
    for flag, path in files.items():
        goal = goal_of(path)
        if goal in taken and not is_stream(goal):
            raise OptionError(f"{taken[goal]} and {flag}: expected two files, got {path} twice.")
        taken[goal] = flag
        _check_place(path)
        _check(path, folder=False)
        if flag == "--report" and str(path) != "-" and path.suffix.lower() not in PAGES:
            raise OptionError(f"--report: expected the name of a page, FILE.html, got {path}.")
    out = getattr(args, "out", None)
    if isinstance(out, Path) and args.command not in OWN_CHECK:
        _check_place(out)
        _check(out, folder=True if args.command in WRITES_FOLDER else None)
        if (out / "store.json").exists() and args.command not in ("split", "merge"):
            raise OptionError(f"{out}: holds a store. Choose another folder for --out.")
    store = getattr(args, "store", None)
    if isinstance(store, Path) and args.command in WRITES_STORE:
        _check(store, folder=True)


def _check_place(path: Path) -> None:
    """Raise OptionError where a file of a store or of a model would be replaced."""
    goal = goal_of(path)
    if goal.is_file() and any((goal.parent / name).exists() for name in MANIFESTS):
        raise OptionError(f"{path}: is part of a store or a model. Choose another file.")


def _check(path: Path, *, folder: bool | None) -> None:
    if folder is False and not path.name:
        raise OptionError(f"{path}: expected the name of a file, got a folder. Add a name.")
    try:
        require_writable(path, folder=folder)
    except OSError as error:
        raise OptionError(
            f"{path}: cannot be written ({error.strerror}). Choose another place."
        ) from None
