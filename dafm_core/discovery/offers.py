"""What one plugin offers: its descriptions, checked, and the same as JSON.

A factory in JSON is a text ``module:attribute``. One that cannot be written so (a function made in
a hook) is ``None`` there, and is asked for again from the plugin when it is used.
"""

from __future__ import annotations

import importlib
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, TypeAlias, TypeVar

import pluggy

from dafm_core.contract import hookspecs
from dafm_core.contract.descriptions import (
    API_VERSION,
    CHANGES,
    PARSERS,
    DatasetInfo,
    FuserInfo,
    Option,
    ProviderInfo,
)
from dafm_core.errors import ProviderError
from dafm_core.ground.printable import first_line

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_Info = TypeVar("_Info", ProviderInfo, FuserInfo, DatasetInfo)
Defer: TypeAlias = Callable[[str, str], Callable[..., Any]]
"""Gives the factory of a kind (``providers``) and name that JSON does not hold."""

KINDS: Final[Mapping[str, type[ProviderInfo] | type[FuserInfo] | type[DatasetInfo]]] = {
    "providers": ProviderInfo,
    "fusers": FuserInfo,
    "datasets": DatasetInfo,
}


@dataclass(frozen=True)
class Offers:
    """Descriptions of one plugin by name."""

    providers: dict[str, ProviderInfo] = field(default_factory=dict)
    fusers: dict[str, FuserInfo] = field(default_factory=dict)
    datasets: dict[str, DatasetInfo] = field(default_factory=dict)

    @classmethod
    def of(cls, plugin: object, *, name: str) -> Offers:
        """Return what a module or object that implements hooks describes.

        Raises
        ------
        ProviderError
            If it implements an unknown hook, was written for another API version, or describes
            something malformed.
        """
        version = getattr(plugin, "dafm_api_version", API_VERSION)
        if version != API_VERSION:
            change = CHANGES.get(version) if isinstance(version, int) else None
            raise ProviderError(
                f"plugin {name!r}: written for API version {version!r}, this dafm-core has "
                f"{API_VERSION}. {change or 'Install a matching release of either'}."
            )
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(plugin, name=name)
        try:
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            said = first_line(error)
            raise ProviderError(f"plugin {name!r}: {said}") from error
        hook = manager.hook
        return cls(
            _by_name(hook.dafm_similarity_providers(), ProviderInfo, name),
            _by_name(hook.dafm_fusers(), FuserInfo, name),
            _by_name(hook.dafm_datasets(), DatasetInfo, name),
        )

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return the descriptions as JSON values."""
        return {
            kind: [
                asdict(replace(info, factory=_written(info.factory)))
                for info in getattr(self, kind).values()
            ]
            for kind in KINDS
        }

    @classmethod
    def from_json(cls, values: Any, *, name: str, defer: Defer) -> Offers:
        """Return what :meth:`to_json` gave, checked as new; raise ProviderError where it is not."""
        read: dict[str, Any] = {}
        try:
            for kind, build in KINDS.items():
                infos = [_read(build, entry, kind, defer) for entry in values[kind]]
                read[kind] = _by_name([infos], build, name)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProviderError(f"plugin {name!r}: its description is damaged.") from error
        return cls(**read)


def _written(factory: Any) -> str | None:
    """Return a factory as ``module:attribute`` if that leads to it again, else None."""
    if isinstance(factory, str):
        return factory
    module, attribute = getattr(factory, "__module__", ""), getattr(factory, "__qualname__", "")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError):
        return None
    return f"{module}:{attribute}" if found is factory else None


def _read(build: Any, entry: Mapping[str, Any], kind: str, defer: Defer) -> Any:
    """Return one description from JSON; what JSON made lists of is tuples again."""
    known = {f.name for f in fields(build)}
    values = {key: value for key, value in entry.items() if key in known}
    values["options"] = tuple(
        Option(**{**option, "choices": tuple(option["choices"])}) for option in values["options"]
    )
    if "splits" in values:
        values["splits"] = tuple(values["splits"])
    if values["factory"] is None:
        values["factory"] = defer(kind, values["name"])
    return build(**values)


def _by_name(results: list[list[_Info]], kind: type[_Info], plugin: str) -> dict[str, _Info]:
    """Return the descriptions of one hook by name, checked."""
    infos: dict[str, _Info] = {}
    for info in (info for result in results for info in result):
        if not isinstance(info, kind):
            raise ProviderError(f"plugin {plugin!r}: expected {kind.__name__}, got {info!r}.")
        _check_fields(info, plugin)
        if not _NAME.fullmatch(info.name):
            raise ProviderError(f"plugin {plugin!r}: name {info.name!r} is not [a-z0-9][a-z0-9-]*.")
        if info.name in infos:
            raise ProviderError(f"plugin {plugin!r}: the name {info.name!r} is taken. Rename it.")
        infos[info.name] = info
    return infos


def _check_fields(info: ProviderInfo | FuserInfo | DatasetInfo, plugin: str) -> None:
    """Raise ProviderError for a field of another type, which would fail when it is used."""
    texts = {"name": info.name, "summary": info.summary, "citation": info.citation}
    wrong: tuple[str, object] | None = next(
        ((key, text) for key, text in texts.items() if not isinstance(text, str)), None
    )
    expected = "a text"
    if wrong is None and not (isinstance(info.factory, str) or callable(info.factory)):
        wrong, expected = ("factory", info.factory), "'module:attr' or a callable"
    if wrong is None and not (
        isinstance(info.options, tuple | list)
        and all(isinstance(o, Option) and o.kind in PARSERS for o in info.options)
    ):
        wrong, expected = ("options", info.options), "a tuple of Option"
    if wrong is not None:
        field_name, value = wrong
        raise ProviderError(
            f"plugin {plugin!r}: expected {field_name} of {info.name!r} to be {expected}, "
            f"got {reprlib.repr(value)}."
        )
