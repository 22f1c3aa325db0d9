"""The description is light and complete."""

import subprocess
import sys
from importlib.metadata import entry_points

from dafm_plugin_covr import plugin

SILENT = """
import sys, dafm_plugin_covr.plugin as plugin
plugin.dafm_similarity_providers()
print(sorted({"torch", "transformers", "numpy", "PIL"} & sys.modules.keys()))
"""


def test_listing_imports_nothing_heavy() -> None:
    command = [sys.executable, "-W", "error", "-c", SILENT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_entry_point_leads_to_the_plugin() -> None:
    (entry,) = (e for e in entry_points(group="dafm") if e.name == "covr")
    assert entry.load() is plugin


def test_every_provider_is_described() -> None:
    assert [info.name for info in plugin.dafm_similarity_providers()] == ["covr-blip", "covr-blip2"]
