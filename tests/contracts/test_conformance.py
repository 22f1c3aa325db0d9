"""Every provider and fuser that is installed passes the conformance suite, core's and plugins'.

How a plugin's own load without their published weights is said by ``settings`` of its
``tests/conformance.py``. A plugin that says nothing, or does not load here, fails.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.contract.provider import has_dot_geometry, is_pair
from dafm_core.core_plugin import PROVIDERS, STATIC_FUSERS
from dafm_core.testing import (
    CheckResult,
    ProviderSample,
    check_description,
    check_fuser,
    check_provider,
    description_checks,
    fuser_checks,
    pair_checks,
    provider_checks,
)

PLUGINS = Path(__file__).parents[2] / "plugins"
CATALOG = PluginCatalog.discover(disabled=[])
HOMES = {
    offer: status.distribution.split()[0]
    for status in CATALOG.plugins
    if status.name != "dafm-core"
    for offer in status.provides
}
"""``provider NAME`` or ``fuser NAME`` -> the plugin's distribution."""

FACTORING = {"feature_rows", "cached_features"}
WAIVED = {
    "captions-bm25": FACTORING,  # match words: features would be no use to them
    "captions-tfidf": FACTORING,
    "edited-bm25": FACTORING,
    **{info.name: {"fingerprint"} for info in PROVIDERS},  # nothing is loaded: the code decides
}
"""Checks that say nothing about a provider."""

OPTIONAL = {"broken_images", "reported_can_be_measured"}
"""Checks of what a provider may have: it looks at pictures, its description reports numbers."""

ORDER_DEPENDENT = {"light-paper"}
"""Fusers to which the order of the gallery matters, and which say so."""

QUICK = {"light-paper": {"n_steps": "8"}}
"""Fewer steps than by default: the laws hold whatever was learned."""

RULES = {info.name for info in STATIC_FUSERS} - {"debiased"}
"""Fusers of a constructor's own keywords, some of which only Python sets."""


def settings_of(offer: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the ``--set`` options with which a provider or fuser loads here."""
    if offer not in HOMES:
        return {}  # core's own need none
    path = PLUGINS / HOMES[offer] / "tests" / "conformance.py"
    spec = importlib.util.spec_from_file_location(f"conformance_{path.parts[-3]}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _, name = offer.split()
    settings: dict[str, str] = module.settings(folder, monkeypatch)[name]
    return settings


def assert_passed(results: Sequence[CheckResult], *, waived: set[str]) -> None:
    failed = [f"{r.name}: {r.message}" for r in results if r.outcome == "failed"]
    assert not failed, "\n".join(failed)
    assert {r.name for r in results if r.outcome == "not applicable"} - OPTIONAL == waived


def test_every_plugin_of_the_repository_is_installed_and_loads() -> None:
    errors = {status.name: status.error for status in CATALOG.plugins if status.error}
    assert not errors
    assert set(HOMES.values()) == {path.parent.name for path in PLUGINS.glob("*/pyproject.toml")}


@pytest.mark.parametrize("name", CATALOG.providers)
def test_providers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = settings_of(f"provider {name}", tmp_path, monkeypatch)
    provider = CATALOG.load_provider(name, options)
    (tmp_path / "pictures").mkdir()
    results = check_provider(provider, ProviderSample.draw(tmp_path / "pictures"))
    waived = WAIVED.get(name, set())
    if not is_pair(provider) and not has_dot_geometry(provider):
        waived = waived | {"dot_geometry"}
    assert_passed(results, waived=waived)
    checks = pair_checks() if is_pair(provider) else provider_checks()
    assert len(results) == len(checks)


@pytest.mark.parametrize("name", CATALOG.fusers)
def test_fusers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = QUICK.get(name) or settings_of(f"fuser {name}", tmp_path, monkeypatch)
    fuser = CATALOG.load_fuser(name, settings)
    results = check_fuser(fuser)
    assert_passed(results, waived={"gallery_permutation"} if name in ORDER_DEPENDENT else set())
    assert len(results) == len(fuser_checks())


@pytest.mark.parametrize("name", CATALOG.providers)
def test_descriptions_of_providers(name: str) -> None:
    results = check_description(CATALOG.providers[name])
    assert_passed(results, waived=set())
    assert len(results) == len(description_checks())


@pytest.mark.parametrize("name", CATALOG.datasets)
def test_descriptions_of_datasets(name: str) -> None:
    assert_passed(check_description(CATALOG.datasets[name]), waived=set())


@pytest.mark.parametrize("name", CATALOG.fusers)
def test_descriptions_of_fusers(name: str) -> None:
    waived = {"keywords_are_described"} if name in RULES else set()
    assert_passed(check_description(CATALOG.fusers[name]), waived=waived)
