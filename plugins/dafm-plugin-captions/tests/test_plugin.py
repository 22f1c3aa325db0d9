import subprocess
import sys

import pytest
from dafm_plugin_captions import plugin

from dafm_core.catalog import PluginCatalog
from dafm_core.errors import OptionError

NAMES = ["captions-bm25", "captions-sentence", "captions-sentence-best", "captions-tfidf"]


@pytest.fixture
def catalog():
    catalog = PluginCatalog()
    catalog.register(plugin, name="captions")
    return catalog


@pytest.mark.parametrize("name", NAMES)
def test_every_provider_loads_by_name(name, catalog, captions, bag_of_words):
    provider = catalog.load_provider(name, {"captions": str(captions)})
    assert provider.fingerprint["captions_sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_captions_are_required(name, catalog):
    with pytest.raises(OptionError, match="--set captions=VALUE"):
        catalog.load_provider(name)


def test_listing_imports_no_model():
    code = (
        "import sys, dafm_plugin_captions.plugin as p; p.dafm_similarity_providers();"
        "print(sorted({'torch', 'sklearn', 'bm25s', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
