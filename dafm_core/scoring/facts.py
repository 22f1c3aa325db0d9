"""What decides a provider's scores, as passports and the feature cache record it."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dafm_core.contract.provider import Provider
from dafm_core.datasets.base import Dataset
from dafm_core.errors import ProviderError


def scored_passport(
    dataset: Dataset, name: str, provider: Provider, broken: frozenset[str]
) -> dict[str, Any]:
    """Return what decides the scores of a provider, for its passport."""
    references = set(dataset.queries["references"].explode().drop_nulls().to_list())
    return {
        "source": "scored",
        **provider_facts(provider, name),
        "missing_images": sorted(broken & set(dataset.gallery_ids)),
        "missing_references": sorted(broken & references),
    }


def provider_facts(provider: Provider, name: str) -> dict[str, Any]:
    """Return what decides a provider's output, whatever the dataset: ``fingerprint`` and ``code``.

    Raises
    ------
    ProviderError
        If the fingerprint is not a mapping of texts to JSON values.
    """
    return {"fingerprint": _fingerprint(provider, name), "code": _code_versions(provider)}


def features_key(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides gallery features, the key of their cache; empty where nobody knows."""
    given = facts["fingerprint"]
    return given and {"provider": name, **facts["code"], **given}


def _fingerprint(provider: Provider, name: str) -> dict[str, Any]:
    """Return what a provider says decides its scores; raise ProviderError unless that is JSON."""
    given = getattr(provider, "fingerprint", {})
    try:
        if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
            raise TypeError
        json.dumps(dict(given), allow_nan=False)
    except (TypeError, ValueError):
        raise ProviderError(
            f"provider {name!r}: expected its fingerprint to be a mapping of texts, got "
            f"{reprlib.repr(given)}. Name what decides the scores, e.g. {{'checkpoint': SHA256}}."
        ) from None
    return dict(given)


def _code_versions(provider: Provider) -> dict[str, str]:
    """Return the versions of dafm-core and of the provider's distribution, where it has one."""
    versions = {"dafm-core": version("dafm-core")}
    distribution = type(provider).__module__.partition(".")[0].replace("_", "-")
    with suppress(PackageNotFoundError):
        versions[distribution] = version(distribution)
    return versions
