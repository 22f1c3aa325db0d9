"""Build every package of this repository, look into what was built, and use it far from here.

Run by ``make wheels``. From a copy of each project an sdist is made, and the wheel from the sdist,
so that neither holds what lies about in a working tree. Sdists leave tests out on purpose: most
need fixtures, other packages of this repository, or both.

The wheels are installed into an environment of their own, and used from an empty folder. To
download torch and all else again takes five minutes; instead, exactly those distributions that the
wheels require, and that these require in turn, are linked from the environment that runs this
script. What is installed here for tests alone is not there: a dependency nobody declared is
noticed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECTS = (ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml")))
LEFT_BEHIND = shutil.ignore_patterns(
    ".*", "plugins", "out", "scores", "build", "dist", "*.egg-info", "__pycache__"
)
BUILD = "import sys; from setuptools import build_meta as b; print(b.{}(sys.argv[1]))"
CAPTIONS = {"image-0": ["A red car."], "image-1": ["A dog.", "It runs."], "image-2": ["A cat."]}
FUSERS = "mean,voting-rrf,light"
NEW = {kind: f"a-new-{kind}" for kind in ("provider", "pair", "fuser", "dataset")}
"""Plugins that ``dafm new-plugin`` writes, by kind."""


@dataclass(frozen=True)
class Built:
    """What was built of one project."""

    project: Path
    sdist: Path
    wheel: Path

    def metadata(self) -> Message:
        with ZipFile(self.wheel) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
            return HeaderParser().parsestr(archive.read(name).decode())


def build(project: Path, folder: Path) -> Built:
    """Build an sdist from a copy of the project, and a wheel from the sdist."""
    work = folder / f"build-{project.name}"
    shutil.copytree(project, work / "copy", ignore=LEFT_BEHIND)
    sdist = folder / _build("build_sdist", work / "copy", folder)
    shutil.unpack_archive(sdist, work / "sdist")
    (unpacked,) = (work / "sdist").iterdir()
    return Built(project, sdist, folder / _build("build_wheel", unpacked, folder))


def _build(hook: str, project: Path, folder: Path) -> str:
    """Call a hook of setuptools, without network or isolation; return the name of the file."""
    command = [sys.executable, "-c", BUILD.format(hook), str(folder)]
    return run(command, cwd=project).strip().splitlines()[-1]


def look_into(built: Built) -> None:
    """Expect the licence, whatever a listing shows, all of the package, and nothing else."""
    with ZipFile(built.wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    legal = {path.name for path in built.project.glob("[LN][IO][CT]*") if path.is_file()}
    expect("LICENSE" in legal, f"{built.project.name}: no LICENSE beside pyproject.toml")
    for name in legal:
        there = any(n.endswith(f".dist-info/licenses/{name}") for n in names)
        expect(there, f"{built.wheel.name}: {name} is missing")
    metadata = built.metadata()
    for header in ("Project-URL", "Classifier", "License-Expression", "Requires-Python"):
        expect(header in metadata, f"{built.wheel.name}: no {header}")
    package = metadata["Name"].replace("-", "_")
    source = {
        path.relative_to(built.project).as_posix()
        for path in (built.project / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in names if ".dist-info/" not in name}
    expect(packed == source, f"{built.wheel.name}: differs in {sorted(packed ^ source)[:5]}")
    with tarfile.open(built.sdist) as archive:
        folders = {Path(name).parts[1] for name in archive.getnames() if name.count("/")}
    expect(not folders & {"tests", "plugins"}, f"{built.sdist.name}: holds {sorted(folders)}")


def required(wheels: Iterable[Built]) -> Iterator[str]:
    """Yield the name of every distribution that the wheels need, directly or not, once."""
    own = {canonicalize_name(built.metadata()["Name"]) for built in wheels}
    asked: set[tuple[str, str]] = set()
    waiting = [("", r) for built in wheels for r in built.metadata().get_all("Requires-Dist", [])]
    while waiting:
        extra, line = waiting.pop()
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in ("", *requirement.extras):
            if name in own or (name, wanted) in asked:
                continue
            asked.add((name, wanted))
            waiting += [(wanted, r) for r in distribution(name).requires or ()]
            if not wanted:
                yield name


def make_environment(folder: Path, wheels: list[Built]) -> Path:
    """Make an environment of the wheels and what they require; return its folder of programs."""
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    program = folder / ("Scripts" if os.name == "nt" else "bin")
    command = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run([str(program / "python"), "-c", command]).strip())
    for name in required(wheels):
        found = distribution(name)
        tops = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
        for top in tops:
            link = packages / top
            if not link.exists():
                link.symlink_to(Path(str(found.locate_file(top))))
    pip = [sys.executable, "-m", "pip", "--python", str(program / "python"), "--quiet"]
    files = [str(built.wheel) for built in wheels]
    run([*pip, "install", "--no-index", "--no-deps", *files])
    run([*pip, "check"])
    return program


def use(program: Path, folder: Path) -> None:
    """Do what a user would: list, check, score, compare."""
    settings = {"HOME": str(folder), "DAFM_CACHE": str(folder / "cache"), "PATH": str(program)}
    captions = folder / "captions.json"
    captions.write_text(json.dumps(CAPTIONS))
    here = folder / "empty"
    here.mkdir()

    def dafm(*arguments: str) -> str:
        return run([str(program / "dafm"), *arguments], cwd=here, env=settings)

    place = "import dafm_core; print(dafm_core.__file__)"
    module = Path(run([str(program / "python"), "-c", place], cwd=here, env=settings).strip())
    expect(module.is_relative_to(program.parent), f"dafm_core is imported from {module}")
    plugins = json.loads(dafm("plugins", "--json"))
    broken = [plugin for plugin in plugins if plugin["status"] != "ok"]
    expect(len(plugins) == len(PROJECTS) and not broken, f"dafm plugins: {broken or plugins}")
    dafm("providers")
    dafm("check", "lambdamart", "--set", "n_trees=20", "--set", "min_leaf=5")
    dafm("check", "captions-bm25", "--set", f"captions={captions}")
    for provider in ("scenes-color", "scenes-words"):
        dafm(
            *("score", "scenes", "--dataset-set", "families=40"),
            *("--provider", provider, "--store", "store"),
        )
    dafm(
        *("compare", "store", "--fusers", FUSERS, "--folds", "3"),
        *("--resamples", "200", "--json", "comparison.json"),
    )
    rows = {row["name"] for row in json.loads((here / "comparison.json").read_text())["rows"]}
    expect(rows >= {"scenes-color", "scenes-words", *FUSERS.split(",")}, f"compare: {rows}")


def use_new_plugins(program: Path, folder: Path) -> None:
    """Write a plugin of each kind, install it, and expect it listed and without a fault."""
    here = folder / "new"
    here.mkdir()
    dafm = str(program / "dafm")
    for kind, name in NEW.items():
        run([dafm, "new-plugin", name, "--kind", kind], cwd=here)
    projects = sorted(here.iterdir())
    with ThreadPoolExecutor(2) as pool:
        wheels = list(pool.map(lambda project: _build("build_wheel", project, folder), projects))
    pip = [sys.executable, "-m", "pip", "--python", str(program / "python"), "--quiet"]
    files = [str(folder / wheel) for wheel in wheels]
    run([*pip, "install", "--no-index", "--no-deps", *files])
    for name in NEW.values():
        run([dafm, "check", name], cwd=here)
    frozen = run([dafm, "plugins", "--freeze"], cwd=here)
    missing = [name for name in NEW.values() if f"dafm-plugin-{name}" not in frozen]
    expect(not missing, f"dafm plugins --freeze lacks {missing}")


def run(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Return what a program printed; end with all of it where the program failed."""
    known = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "DAFM_CACHE")}
    done = subprocess.run(
        command, cwd=cwd, env=known | (env or {}), capture_output=True, text=True, check=False
    )
    expect(done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def expect(claim: bool, otherwise: str) -> None:
    """End with exit code 1 and a message where a claim is false."""
    if not claim:
        sys.exit(f"check_wheels: {otherwise}")


def main() -> None:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="dafm-wheels-") as name:
        folder = Path(name)
        with ThreadPoolExecutor(2) as pool:
            wheels = list(pool.map(lambda project: build(project, folder), PROJECTS))
        for built in wheels:
            look_into(built)
        try:
            program = make_environment(folder / "environment", wheels)
        except PackageNotFoundError as error:
            sys.exit(f"check_wheels: {error.name} is required but not installed here.")
        use(program, folder)
        use_new_plugins(program, folder)
    print(
        f"{len(wheels)} wheels built, looked into and used, a new plugin of each kind installed, "
        f"{time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
