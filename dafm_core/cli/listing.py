"""``dafm plugins``, ``providers``, ``fusers``, ``datasets``: what is installed, without importing
any of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, TypeAlias

from dafm_core.catalog import PluginCatalog
from dafm_core.cli.arguments import add_json
from dafm_core.contract.descriptions import DatasetInfo, FuserInfo, ProviderInfo
from dafm_core.errors import OptionError, closest

EXAMPLES = {
    "plugins": "examples:\n"
    "  DAFM_DISABLED_PLUGINS=tgcir dafm plugins\n"
    "  dafm plugins --freeze > requirements.txt    # pip install -r requirements.txt",
    "providers": "examples:\n  dafm providers\n  dafm providers sprc    # its options and citation",
    "fusers": "examples:\n  dafm fusers\n  dafm fusers light",
    "datasets": "examples:\n  dafm datasets\n  dafm datasets cirr",
}

_SHOWN = {
    "plugins": ("name", "distribution", "status", "provides"),
    "providers": ("name", "summary"),
    "fusers": ("name", "kind", "summary"),
    "datasets": ("name", "splits", "summary"),
}
"""Columns of each overview; ``--json`` and a name show all."""

_Info: TypeAlias = ProviderInfo | FuserInfo | DatasetInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add NAME and --json."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="show only this one, with everything"
    )
    add_json(parser)
    if parser.prog.split()[-1] == "plugins":
        parser.add_argument(
            "--freeze",
            action="store_true",
            help="print exact versions of plugins and of what can change a number, for pip",
        )


def run(args: argparse.Namespace) -> None:
    """Print one listing."""
    if getattr(args, "freeze", False):
        _freeze(args)
        return
    catalog = PluginCatalog.discover(ask_again=args.command == "plugins")
    records = _records(args.command, catalog)
    if args.name:
        names = [record["name"] for record in records]
        if args.name not in names:
            raise OptionError(f"no {args.command[:-1]} {args.name!r}{closest(args.name, names)}")
        records = [records[names.index(args.name)]]
    from dafm_core.reporting.saying import print_json, say
    from dafm_core.reporting.terminal import print_record, print_records

    if args.json:
        print_json(records)
        return
    if args.name:
        options = records[0].pop("options", [])
        print_record({key: _cell(value) for key, value in records[0].items()})
        print_records("options", [{k: _cell(v) for k, v in option.items()} for option in options])
        return
    shown = _SHOWN[args.command]
    if args.command == "plugins":
        records = [{**record, "provides": _by_kind(record["provides"])} for record in records]
    print_records(args.command, [{key: _cell(record[key]) for key in shown} for record in records])
    failed = [r["name"] for r in records if r.get("status", "ok") not in {"ok", "disabled"}]
    if failed:
        say()
        say(f"{', '.join(failed)} did not load; dafm plugins NAME shows the whole reason.")


def _freeze(args: argparse.Namespace) -> None:
    """Print a line for pip about each package that offers a plugin, or can change a number."""
    if args.name or args.json:
        raise OptionError(
            "dafm plugins --freeze: expected nothing else. Leave NAME and --json out."
        )
    from dafm_core.comparison.provenance import requirements
    from dafm_core.reporting.saying import say

    for line in requirements():
        say(line)


def _records(command: str, catalog: PluginCatalog) -> list[dict[str, Any]]:
    infos: dict[str, Iterable[_Info]] = {
        "providers": catalog.providers.values(),
        "fusers": catalog.fusers.values(),
        "datasets": catalog.datasets.values(),
    }
    if command in infos:
        return [_describe(info) for info in infos[command]]
    return [
        {
            "name": status.name,
            "distribution": status.distribution,
            "status": status.error or "ok",
            "provides": list(status.provides),
        }
        for status in catalog.plugins
    ]


def _describe(info: _Info) -> dict[str, Any]:
    record: dict[str, Any] = {"name": info.name, "summary": info.summary}
    if isinstance(info, FuserInfo):
        record["kind"] = info.kind
    if isinstance(info, DatasetInfo):
        record["splits"] = list(info.splits)
    if not isinstance(info, FuserInfo):
        record["licence"] = info.licence
    record["citation"] = info.citation
    if isinstance(info, ProviderInfo):
        record["reported"] = {protocol: dict(v) for protocol, v in info.reported.items()}
    record["options"] = [{**asdict(o), "choices": list(o.choices)} for o in info.options]
    return record


def _by_kind(provides: Iterable[str]) -> str:
    """Return what a plugin provides, each kind named once.

    Examples
    --------
    >>> _by_kind(["provider sprc", "provider sprc-spn", "fuser mean"])
    'providers sprc, sprc-spn; fuser mean'
    """
    kinds: dict[str, list[str]] = {}
    for offer in provides:
        kind, _, name = offer.partition(" ")
        kinds.setdefault(kind, []).append(name)
    return "; ".join(f"{k}{'s' * (len(n) > 1)} {', '.join(n)}" for k, n in kinds.items())


def _cell(value: Any) -> str:
    """Return a value as a table's cell."""
    if isinstance(value, dict):
        parts = {
            protocol: ", ".join(f"{k} {v:g}" for k, v in d.items()) for protocol, d in value.items()
        }
        return "; ".join(f"{protocol}: {text}" for protocol, text in parts.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None or value is False else "yes" if value is True else str(value)
