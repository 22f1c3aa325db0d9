"""Core's own fusers and providers pass the batteries they ship."""

import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.core_plugin import FUSERS, PROVIDERS
from dafm_core.testing import check_fuser, check_provider, fuser_checks, provider_checks

ORDER_DEPENDENT = {"light-paper"}


@pytest.mark.parametrize("name", [info.name for info in FUSERS])
def test_core_fusers_pass(name):
    catalog = PluginCatalog.discover()
    results = check_fuser(catalog.load_fuser(name))
    assert not [result for result in results if result.outcome == "failed"]
    waived = {result.name for result in results if result.outcome == "not applicable"}
    assert waived == ({"gallery_permutation"} if name in ORDER_DEPENDENT else set())
    assert len(results) == len(fuser_checks())


@pytest.mark.parametrize("name", [info.name for info in PROVIDERS])
def test_core_providers_pass(name):
    results = check_provider(PluginCatalog.discover().load_provider(name))
    assert not [result for result in results if result.outcome == "failed"]
    assert len(results) == len(provider_checks())
