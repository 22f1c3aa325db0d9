"""Discovery: every installed plugin, its descriptions, and what failed to load and why.

Entry points of group ``dafm`` are asked one by one, in processes of their own, so that a broken
plugin is a row with its error and never a crash. ``load_*`` imports the factory that a description
names, and no other plugin. There is no global catalog: one is made where it is needed, and tests
make their own.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dafm_core.contract.contained import contained
from dafm_core.contract.descriptions import (
    CHANGES,
    DatasetInfo,
    FuserInfo,
    Option,
    ProviderInfo,
    parse_options,
)
from dafm_core.discovery.describing import describe
from dafm_core.discovery.offers import KINDS, Offers
from dafm_core.errors import DafmError, OptionError, ProviderError, closest, expect
from dafm_core.ground.printable import first_line

if TYPE_CHECKING:
    from dafm_core.contract.provider import Provider
    from dafm_core.datasets.base import Dataset
    from dafm_core.fusion.base import Fuser

ENTRY_POINT_GROUP = "dafm"
DISABLED_VARIABLE = "DAFM_DISABLED_PLUGINS"
CORE = EntryPoint("dafm-core", "dafm_core.core_plugin", ENTRY_POINT_GROUP)
"""Core's own offers: a plugin like any other, loaded first, so that its names are taken."""

_Info = TypeVar("_Info", ProviderInfo, FuserInfo, DatasetInfo)


@dataclass(frozen=True, kw_only=True)
class PluginStatus:
    """One row of ``dafm plugins``.

    Parameters
    ----------
    name : str
        Name of the entry point.
    distribution : str
        Package and version it comes from.
    error : str
        Why it was not loaded, on one line; empty where it was.
    provides : tuple of str
        Names it adds, e.g. ``provider sprc``.
    """

    name: str
    distribution: str = ""
    error: str = ""
    provides: tuple[str, ...] = ()


@dataclass
class PluginCatalog:
    """All descriptions by name. ``discover()`` makes one; ``register()`` adds a module or object.

    Attributes
    ----------
    providers, fusers, datasets : dict of str to description
    plugins : list of PluginStatus
    """

    providers: dict[str, ProviderInfo] = field(default_factory=dict)
    fusers: dict[str, FuserInfo] = field(default_factory=dict)
    datasets: dict[str, DatasetInfo] = field(default_factory=dict)
    plugins: list[PluginStatus] = field(default_factory=list)

    def __repr__(self) -> str:
        return (
            f"<PluginCatalog: {len(self.plugins)} plugins, {len(self.providers)} providers, "
            f"{len(self.fusers)} fusers, {len(self.datasets)} datasets>"
        )

    @classmethod
    def core(cls) -> PluginCatalog:
        """Return core's own descriptions alone; nothing that is installed is looked for."""
        catalog = cls()
        catalog.register(CORE.load(), name=CORE.name, distribution=_origin(CORE))
        return catalog

    @classmethod
    def discover(
        cls, *, disabled: Iterable[str] | None = None, ask_again: bool = False
    ) -> PluginCatalog:
        """Return core's own descriptions and those of every installed plugin.

        No plugin is imported here: see ``discovery/describing.py``.

        Parameters
        ----------
        disabled : iterable of str, optional
            Entry points not to load; by default the comma-separated ``DAFM_DISABLED_PLUGINS``.
        ask_again : bool
            Ask a plugin too that is remembered for having crashed or not returned.
        """
        if disabled is None:
            disabled = os.environ.get(DISABLED_VARIABLE, "").split(",")
        off = {name.strip() for name in disabled if name.strip()}
        catalog = cls.core()
        installed = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name)
        answers = iter(describe([e for e in installed if e.name not in off], ask_again=ask_again))
        for entry in installed:
            origin = _origin(entry)
            if entry.name in off:
                status = PluginStatus(name=entry.name, distribution=origin, error="disabled")
                catalog.plugins.append(status)
            else:
                catalog._add_answer(next(answers), name=entry.name, distribution=origin)
        return catalog

    def register(self, plugin: object, *, name: str, distribution: str = "") -> None:
        """Add a module or object that implements hooks.

        Raises
        ------
        ProviderError
            If it implements an unknown hook, was written for another API version, describes
            something malformed, or takes a name that is taken; nothing of it is added then.
        """
        self._add(Offers.of(plugin, name=name), name=name, distribution=distribution)

    def _add_answer(self, answer: Offers | ProviderError, *, name: str, distribution: str) -> None:
        """Add what a plugin offers; keep the reason where it offers nothing."""
        try:
            if isinstance(answer, ProviderError):
                raise answer
            self._add(answer, name=name, distribution=distribution)
        except ProviderError as error:
            reason = first_line(error)
            self.plugins.append(PluginStatus(name=name, distribution=distribution, error=reason))

    def _add(self, offers: Offers, *, name: str, distribution: str) -> None:
        for kind in KINDS:
            taken = getattr(self, kind).keys() & getattr(offers, kind).keys()
            if taken:
                raise ProviderError(
                    f"plugin {name!r}: the name {min(taken)!r} is taken. Rename it."
                )
        for kind in KINDS:
            getattr(self, kind).update(getattr(offers, kind))
        added = tuple(f"{kind[:-1]} {key}" for kind in KINDS for key in getattr(offers, kind))
        self.plugins.append(PluginStatus(name=name, distribution=distribution, provides=added))

    def load_provider(self, name: str, options: Mapping[str, str] | None = None) -> Provider:
        """Import a provider's factory and call it with ``--set`` options.

        Raises
        ------
        OptionError
            For an unknown name or option (with the closest match).
        ProviderError
            If the factory cannot be imported or fails; names the provider and the cause.
        """
        info = self._find(self.providers, name, what="provider")
        provider = _build(info.factory, info.options, options or {}, where=f"provider {name!r}")
        if not hasattr(provider, "similarity") and not hasattr(provider, "score_pairs"):
            raise ProviderError(
                f"provider {name!r}: its factory returned {provider!r}, no provider."
            )
        _check_signature(provider, where=f"provider {name!r}")
        loaded: Provider = provider
        return loaded

    def load_fuser(self, name: str, options: Mapping[str, str] | None = None) -> Fuser:
        """Import a fuser's factory and call it with ``--set`` options; errors as load_provider."""
        info = self._find(self.fusers, name, what="fuser")
        fuser: Fuser = _build(info.factory, info.options, options or {}, where=f"fuser {name!r}")
        return fuser

    def _find(self, infos: Mapping[str, _Info], name: str, *, what: str) -> _Info:
        """As :func:`find`; an error names the plugins that are missing, for one may have it."""
        try:
            return find(infos, name, what=what)
        except OptionError as error:
            failed = [s for s in self.plugins if s.error and s.error != "disabled"]
            if not failed:
                raise
            reasons = "; ".join(f"plugin {s.name!r} did not load: {s.error}" for s in failed)
            raise OptionError(f"{error} ({reasons})") from None

    def load_dataset(
        self, spec: str, *, split: str | None = None, options: Mapping[str, str] | None = None
    ) -> Dataset:
        """Open ``NAME:PATH`` (or the name of an embedded dataset) with ``--set`` options.

        Raises
        ------
        OptionError
            For an unknown dataset, split or option, or a missing path.
        DatasetError
            If its files cannot be read.
        """
        expect(spec, str, where="dataset", hint="Name it, e.g. cirr:data/cirr.")
        name, _, path = spec.partition(":")
        if name not in self.datasets:
            raise _unknown_dataset(self.datasets, spec)
        info = self.datasets[name]
        if info.needs_path and not path:
            raise OptionError(f"dataset {name!r}: expected {name}:PATH, got {spec!r}.")
        split = split or (info.splits[0] if info.splits else None)
        if info.splits and split not in info.splits:
            raise OptionError(
                f"dataset {name!r}: no split {split!r}{closest(str(split), info.splits)}"
            )
        extra = {"path": path or None, "split": split}
        where = f"dataset {name!r}"
        dataset: Dataset = _build(info.factory, info.options, options or {}, where=where, **extra)
        return dataset


def load_dataset(
    spec: str, *, split: str | None = None, catalog: PluginCatalog | None = None, **options: str
) -> Dataset:
    """Open a dataset as the command line does, e.g. ``load_dataset("cirr:data/cirr",
    split="val")``.

    Parameters
    ----------
    spec : str
        ``NAME:PATH``, or the name of an embedded dataset.
    split : str, optional
        The dataset's first by default.
    options : str
        The dataset's options, as ``--dataset-set`` takes them.

    Raises
    ------
    OptionError, DatasetError
        As :meth:`PluginCatalog.load_dataset`.
    """
    catalog = catalog or PluginCatalog.discover()
    return catalog.load_dataset(spec, split=split, options=options)


def _unknown_dataset(datasets: Mapping[str, DatasetInfo], spec: str) -> OptionError:
    """Return the error for a dataset that is not there; a path gets the name that fits before."""
    name = spec.partition(":")[0]
    if name == spec and ("/" in spec or Path(spec).exists()):
        words = [word.lower() for word in Path(spec).parts[::-1]]
        likely = (known for word in words for known in datasets if word.startswith(known))
        hint = f"; did you mean '{next(likely, 'folder')}:{spec}'?"
    else:
        hint = closest(name, datasets)
    return OptionError(f"unknown dataset {name!r}: expected NAME:PATH{hint}")


def find(infos: Mapping[str, _Info], name: str, *, what: str) -> _Info:
    """Return the description called ``name``; raise OptionError with the closest match."""
    if not isinstance(name, str):  # Python lets anything through: an object, a class, a number
        raise OptionError(
            f"expected the name of a {what}, got {name!r}. Give an object of yours under a name of "
            f"its own: {{'mine': {type(name).__name__}(...)}}."
        )
    try:
        return infos[name]
    except KeyError:
        raise OptionError(f"unknown {what} {name!r}{closest(name, infos)}") from None


def resolve(factory: str | Callable[..., Any], *, where: str) -> Callable[..., Any]:
    """Return a factory given as ``"module:attr"``, importing its module.

    Raises
    ------
    ProviderError
        If it cannot be imported; the message carries the cause.
    """
    if callable(factory):
        return factory
    module, _, attribute = factory.partition(":")
    try:
        with contained():
            loaded: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        cause = f"{type(error).__name__}: {first_line(error)}"
        raise ProviderError(f"{where}: cannot import {factory} ({cause}).") from error
    return loaded


def _build(
    factory: str | Callable[..., Any],
    options: tuple[Option, ...],
    given: Mapping[str, str],
    *,
    where: str,
    **extra: Any,
) -> Any:
    """Parse options, import the factory and call it; what is not a DafmError is wrapped as one."""
    values = parse_options(options, given, where=where)
    build = resolve(factory, where=where)
    try:
        with contained():
            return build(**extra, **values)
    except DafmError:
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {first_line(error)}"
        raise ProviderError(f"{where}: its factory failed ({cause}).") from error


def _check_signature(provider: Any, *, where: str) -> None:
    """Raise ProviderError if queries are encoded as in version 1 of the contract."""
    encode = getattr(provider, "encode_queries", None)
    try:
        if encode is not None:
            inspect.signature(encode).bind(())
    except TypeError:
        raise ProviderError(f"{where}: as in API version 1. {CHANGES[1]}.") from None
    except ValueError:
        return  # written in C: nothing can be told


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else ""
