"""Providers by name: registered ones with their options, and a user's own objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from dafm_core.catalog import PluginCatalog, find
from dafm_core.contract.descriptions import References
from dafm_core.contract.provider import Provider
from dafm_core.errors import ProviderError
from dafm_core.scoring.boundary import announced

Named: TypeAlias = Provider | Mapping[str, Any] | tuple[str, Mapping[str, Any]]
"""What a name may stand for: an object, options of the registered provider of that name, or another
registered name with options."""


def named_providers(
    providers: Sequence[str | Provider] | Mapping[str, Named],
    catalog: PluginCatalog | None,
) -> dict[str, tuple[Provider, dict[str, str], References | None]]:
    """Return providers by name, with the options for their passports and the references that
    their descriptions state; names are loaded.
    """
    if isinstance(providers, Mapping):
        asked: list[tuple[str | None, str | Named]] = []
        asked += [(name, value) for name, value in providers.items()]
    else:
        asked = [(None, value) for value in providers]
    named: dict[str, tuple[Provider, dict[str, str], References | None]] = {}
    for name, value in asked:
        if isinstance(value, str):
            name, value = value, {}
        if isinstance(value, Mapping):
            value = str(name), value
        if isinstance(value, tuple):
            registered, given = value
            catalog = catalog or PluginCatalog.discover()
            options = {key: str(option) for key, option in given.items()}
            stated = find(catalog.providers, registered, what="provider").references
            named[str(name)] = (*load_with_options(catalog, registered, options), stated)
            continue
        name = name or getattr(value, "name", None)
        if not isinstance(name, str):
            raise ProviderError(
                f"{type(value).__name__}: expected a provider with a 'name', got none. "
                "Give it one, or pass {name: provider}."
            )
        named[name] = value, {}, None
    return named


def load_with_options(
    catalog: PluginCatalog, name: str, options: Mapping[str, str]
) -> tuple[Provider, dict[str, str]]:
    """Return a registered provider, and its options as a passport records them: a file by its name
    alone, so that a store is the same wherever the file lies.
    """
    with announced(f"provider {name!r} at loading"):
        provider = catalog.load_provider(name, options)
    info = find(catalog.providers, name, what="provider")
    paths = {option.name for option in info.options if option.kind == "path"}
    return provider, {k: Path(v).name if k in paths else v for k, v in options.items()}
