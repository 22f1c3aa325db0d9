"""``dafm plugins``, ``providers``, ``fusers``, ``datasets``: what is installed, without importing
any of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any

from dafm_core.cli.arguments import add_json
from dafm_core.descriptions import DatasetInfo, FuserInfo, Option, ProviderInfo
from dafm_core.plugins import PluginCatalog

EXAMPLES = {
    "plugins": "example:\n  DAFM_DISABLED_PLUGINS=tgcir dafm plugins",
    "providers": "example:\n  dafm providers --json",
    "fusers": "example:\n  dafm fusers",
    "datasets": "example:\n  dafm datasets",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Print one listing."""
    catalog = PluginCatalog.discover()
    if args.command == "plugins":
        records = _plugins(catalog)
    else:
        infos: dict[str, Iterable[ProviderInfo | FuserInfo | DatasetInfo]] = {
            "providers": catalog.providers.values(),
            "fusers": catalog.fusers.values(),
            "datasets": catalog.datasets.values(),
        }
        records = [_describe(info) for info in infos[args.command]]
    if args.json:
        print(json.dumps(records, indent=1, ensure_ascii=False))
        return
    from dafm_core.reporting.terminal import print_records

    print_records(args.command, [{k: _cell(v) for k, v in record.items()} for record in records])


def _plugins(catalog: PluginCatalog) -> list[dict[str, Any]]:
    return [
        {
            "name": status.name,
            "distribution": status.distribution,
            "status": status.error or "ok",
            "provides": list(status.provides),
        }
        for status in catalog.plugins
    ]


def _describe(info: ProviderInfo | FuserInfo | DatasetInfo) -> dict[str, Any]:
    record: dict[str, Any] = {"name": info.name, "summary": info.summary}
    if isinstance(info, FuserInfo):
        record["kind"] = info.kind
    if isinstance(info, DatasetInfo):
        record["splits"] = list(info.splits)
    record["options"] = [_option(option) for option in info.options]
    if not isinstance(info, FuserInfo):
        record["licence"] = info.licence
    record["citation"] = info.citation
    return record


def _option(option: Option) -> dict[str, Any]:
    return {
        "name": option.name,
        "kind": option.kind,
        "summary": option.summary,
        "default": option.default,
        "required": option.required,
        "choices": list(option.choices),
    }


def _cell(value: Any) -> str:
    """Return a value as a table's cell; an option as its name, required ones marked."""
    if isinstance(value, list):
        names = [v["name"] + "*" * v["required"] if isinstance(v, dict) else str(v) for v in value]
        return ", ".join(names)
    return str(value)
