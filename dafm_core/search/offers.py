"""Providers as they come to an index: loaded by name, handed over, or features made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.catalog import PluginCatalog, find
from dafm_core.contract.descriptions import References
from dafm_core.contract.provider import Provider, has_dot_geometry, is_encoding, is_pair
from dafm_core.errors import OptionError
from dafm_core.ground.ids import Ids
from dafm_core.scoring.facts import provider_facts
from dafm_core.scoring.named import load_with_options
from dafm_core.search.index import GalleryIndex
from dafm_core.search.live import check_same
from dafm_core.search.manifest import Kind
from dafm_core.store.store import PROVIDER_NAME


@dataclass(frozen=True, kw_only=True, eq=False)
class Offer:
    """A provider as it comes to an index.

    Parameters
    ----------
    provider : Provider or None
        None for features made elsewhere.
    facts : mapping
        ``fingerprint``, ``code`` and ``options``, for the passport.
    references : {"one", "any", "none"}
    load : mapping
        ``provider`` and ``options``, where it can be loaded by name.
    features : callable, optional
        From images to features made elsewhere, in their order.
    """

    provider: Provider | None
    facts: Mapping[str, Any]
    references: References = "one"
    load: Mapping[str, Any] = field(default_factory=dict)
    features: Callable[[Ids], NDArray[np.float32]] | None = None

    @classmethod
    def named(
        cls, catalog: PluginCatalog, name: str, options: Mapping[str, str], own: str
    ) -> Offer:
        """Return a registered provider with options, to be called ``own``."""
        provider, recorded = load_with_options(catalog, name, options)
        info = find(catalog.providers, name, what="provider")
        paths = {option.name for option in info.options if option.kind == "path"}
        located = {
            k: str(Path(v).expanduser().resolve()) if k in paths else v for k, v in options.items()
        }
        return cls(
            provider=provider,
            facts={**provider_facts(provider, own), "options": recorded},
            references=getattr(provider, "references", info.references),
            load={"provider": name, "options": located},
        )

    @classmethod
    def of(cls, provider: Provider, name: str) -> Offer:
        """Return an object of one's own."""
        return cls(
            provider=provider,
            facts={**provider_facts(provider, name), "options": {}},
            references=getattr(provider, "references", "one"),
        )

    @property
    def kind(self) -> Kind:
        """What the index keeps of it."""
        if self.provider is None:
            return "given"
        if is_pair(self.provider):
            return "pair"
        return "encoding" if is_encoding(self.provider) else "row"

    @property
    def geometry(self) -> str:
        """How features compare, where anyone can say."""
        dot = self.provider is None or has_dot_geometry(self.provider)
        return "dot" if dot else ""


def offers_of(
    providers: Sequence[str] | Mapping[str, Provider | Offer | Mapping[str, str]],
    catalog: PluginCatalog | None = None,
) -> dict[str, Offer]:
    """Return providers as offers, by name, sorted.

    Raises
    ------
    OptionError, ProviderError
        For unknown names or options, or a model that cannot be loaded.
    """
    asked = providers if isinstance(providers, Mapping) else {name: {} for name in providers}
    offers = {}
    for name in sorted(asked):
        if not PROVIDER_NAME.fullmatch(name):
            raise OptionError(f"provider {name!r}: expected a name of a-z, 0-9 and '-'.")
        value = asked[name]
        if isinstance(value, Offer):
            offers[name] = value
        elif isinstance(value, Mapping):
            catalog = catalog or PluginCatalog.discover()
            offers[name] = Offer.named(catalog, name, value, name)
        else:
            offers[name] = Offer.of(value, name)
    if not offers:
        raise OptionError("index: expected at least one provider, got none.")
    return offers


def offers_again(
    index: GalleryIndex,
    given: Mapping[str, Provider | Offer | Mapping[str, str]],
    catalog: PluginCatalog | None,
    asked: Collection[str],
) -> dict[str, Offer]:
    """Return the providers of an index as offers, those asked for loaded as they were."""
    offers = {}
    for name, entry in index.entries.items():
        value = given.get(name, {})
        if isinstance(value, Mapping) and (entry.kind == "given" or name not in asked):
            offers[name] = Offer(provider=None, facts=entry.passport)
        elif isinstance(value, Mapping):
            if not entry.load:
                raise OptionError(
                    f"provider {name!r}: was handed over when the index was built, and is no "
                    f"plugin. Give it again: providers={{{name!r}: ...}}."
                )
            catalog = catalog or PluginCatalog.discover()
            options = {**entry.load["options"], **value}
            offers[name] = Offer.named(catalog, entry.load["provider"], options, name)
        else:
            offers[name] = value if isinstance(value, Offer) else Offer.of(value, name)
        provider = offers[name].provider
        if provider is not None:
            check_same(index.path, entry, provider)
    return offers
