"""What it takes to do a comparison again: options, seeds, versions, models, threads and command."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution, entry_points, version
from typing import TYPE_CHECKING, Any, Final

from dafm_core.catalog import ENTRY_POINT_GROUP

if TYPE_CHECKING:
    from dafm_core.fusion.base import Fuser
    from dafm_core.store.stack import SimilarityStack

PACKAGES: Final = ("dafm-core", "numpy", "scipy", "scikit-learn", "torch", "lightgbm")
"""Whose version can change a number."""
PASSPORT_FIELDS: Final = ("source", "fingerprint", "options", "fitted_query_ids")

DATE: Final = "--date"
"""The option that asks for the time."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a comparison came about.

    Parameters
    ----------
    arguments : tuple of str
        What was typed after ``dafm``, word by word; empty where it was made from Python.
    command, date : str
        The same as one line for a shell, and when, in UTC (ISO 8601); empty where it was made from
        Python, so that the same inputs give the same bytes.
    seed, n_resamples : int
        Of intervals, tests and the shuffled gallery.
    design : str
        With everything that decides it, its own seed among it.
    fusers : mapping of row to mapping
        Class and every option of each.
    providers : mapping of provider to mapping
        What their passports say of where scores come from, and the hash of the whole passport,
        which holds those of the scores.
    data : mapping
        Protocol, number of queries, and the hashes of queries, targets and gallery.
    bank : str
        Protocol and number of queries of a bank; empty without one.
    versions : mapping of package to str
    threads : str
        ``OMP_NUM_THREADS``, on which training depends in the last digits; empty where unset.
    """

    arguments: tuple[str, ...] = ()
    command: str = ""
    date: str = ""
    seed: int
    n_resamples: int
    design: str
    fusers: Mapping[str, Mapping[str, Any]] = field(repr=False)
    providers: Mapping[str, Mapping[str, Any]] = field(repr=False)
    data: Mapping[str, Any] = field(default_factory=dict)
    bank: str = ""
    versions: Mapping[str, str]
    threads: str

    @classmethod
    def of(
        cls,
        stack: SimilarityStack,
        fusers: Mapping[str, Fuser],
        *,
        design: str,
        bank: SimilarityStack | None,
        seed: int,
        n_resamples: int,
    ) -> Provenance:
        """Return what is known here and now."""
        passports = stack.gallery.passports
        return cls(
            seed=seed,
            n_resamples=n_resamples,
            design=design,
            fusers={name: described(fuser) for name, fuser in fusers.items()},
            providers={name: _origin(passports.get(name, {})) for name in stack.names},
            data={
                "protocol": stack.protocol,
                "n_queries": stack.n_queries,
                "queries_sha256": stack.dataset.queries_sha256,
                "truth_sha256": stack.dataset.truth_sha256,
                "gallery_sha256": stack.dataset.gallery_sha256,
            },
            bank="" if bank is None else f"{bank.n_queries} queries of {bank.protocol}",
            versions=versions(),
            threads=os.environ.get("OMP_NUM_THREADS", ""),
        )

    def typed(self, arguments: Sequence[str]) -> Provenance:
        """Return the same with what was typed after ``dafm``, and when, if ``--date`` was."""
        command, date = typed(arguments)
        return replace(self, arguments=tuple(arguments), command=command, date=date)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"arguments": list(self.arguments)}

    @property
    def lines(self) -> list[str]:
        """The same in words, for a page."""
        when = f" {self.date}" if self.date else ""
        made = [f"Made{when} by: {self.command}"] if self.command else []
        packages = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        lines = [
            *made,
            f"Separation: {self.design}",
            f"Seed {self.seed}, {self.n_resamples} resamples, threads {self.threads or 'not set'}",
            packages,
        ]
        if self.data:
            hashes = ", ".join(f"{k} {v}" for k, v in self.data.items() if k.endswith("sha256"))
            lines.append(f"{self.data['n_queries']} queries of {self.data['protocol']}: {hashes}")
        if self.bank:
            lines.append(f"Bank: {self.bank}")
        lines += [f"{name}: {_text(fuser['options'])}" for name, fuser in self.fusers.items()]
        return lines + [f"{name}: {_text(facts)}" for name, facts in self.providers.items()]


def typed(arguments: Sequence[str]) -> tuple[str, str]:
    """Return a command as it is typed, and the time in UTC where it asks for it with ``--date``.

    Without it the same command gives the same bytes tomorrow.
    """
    time = datetime.now(UTC).isoformat(timespec="seconds") if DATE in arguments else ""
    return shlex.join(["dafm", *arguments]), time


def made_by(arguments: Sequence[str]) -> dict[str, Any]:
    """Return what the record of a command holds that measures what is there, and draws nothing."""
    command, date = typed(arguments)
    return {
        "arguments": list(arguments),
        "command": command,
        "date": date,
        "versions": versions(),
    }


def described(fuser: Fuser) -> dict[str, Any]:
    """Return a fuser's class and options as JSON values; a fuser of fusers with all of them."""
    return {"class": type(fuser).__name__, "options": _plain(fuser.params())}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _origin(passport: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a passport says of where scores come from, and its hash."""
    said = {key: passport[key] for key in PASSPORT_FIELDS if key in passport}
    if passport:
        text = json.dumps(passport, sort_keys=True, default=str)
        sealed = passport.get("sha256") or hashlib.sha256(text.encode()).hexdigest()
        said["passport_sha256"] = sealed
    return said


def requirements() -> list[str]:
    """Return a line for pip about each package that can change a number or offers a plugin.

    A package that came from a folder, a file or a repository is named with where it came from (PEP
    610); an index could not give it again by its version.
    """
    plugins = {entry.dist.name for entry in entry_points(group=ENTRY_POINT_GROUP) if entry.dist}
    names = sorted({*PACKAGES, *plugins}, key=str.lower)
    lines = []
    for name in names:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        lines.append(_requirement(found.name, found.version, origin))
    return lines


def _requirement(name: str, number: str, origin: Mapping[str, Any]) -> str:
    """Return one line.

    Examples
    --------
    >>> _requirement("a", "1.0", {})
    'a==1.0'
    >>> vcs = {"vcs": "git", "commit_id": "f00"}
    >>> _requirement("a", "1.0", {"url": "https://host/a.git", "vcs_info": vcs})
    'a @ git+https://host/a.git@f00'
    >>> _requirement("a", "1.0", {"url": "file:///src/a", "dir_info": {"editable": True}})
    '-e file:///src/a  # a 1.0'
    """
    url, commit = origin.get("url"), origin.get("vcs_info")
    if not url:
        return f"{name}=={number}"
    if commit:
        return f"{name} @ {commit['vcs']}+{url}@{commit['commit_id']}"
    if origin.get("dir_info", {}).get("editable"):
        return f"-e {url}  # {name} {number}"
    return f"{name} @ {url}"


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "params"):
        return described(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _text(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, ensure_ascii=False, default=str)
