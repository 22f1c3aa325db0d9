"""The description is light and complete: its options are exactly what the factories take."""

import inspect
import subprocess
import sys
from importlib.metadata import entry_points

from dafm_plugin_sprc import plugin, provider

from dafm_core.contract.descriptions import parse_options

SILENT = """
import sys, dafm_plugin_sprc.plugin as plugin
plugin.dafm_similarity_providers()
print(sorted({"torch", "transformers", "numpy", "PIL"} & sys.modules.keys()))
"""


def test_listing_imports_nothing_heavy() -> None:
    command = [sys.executable, "-W", "error", "-c", SILENT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_entry_point_leads_to_the_plugin() -> None:
    (entry,) = (e for e in entry_points(group="dafm") if e.name == "sprc")
    assert entry.load() is plugin


def test_options_and_defaults_are_those_of_the_factory() -> None:
    taken = inspect.signature(provider._load).parameters
    defaults = {
        name: None if parameter.default is inspect.Parameter.empty else parameter.default
        for name, parameter in taken.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    infos = plugin.dafm_similarity_providers()
    assert [info.name for info in infos] == ["sprc", "sprc-spn"]
    for info in infos:
        assert {option.name: option.default for option in info.options} == defaults
        module, _, name = str(info.factory).partition(":")
        assert module == provider.__name__
        assert callable(getattr(provider, name))
        values = parse_options(info.options, {"checkpoint": "a.pt"}, where=info.name)
        assert values["batch_size"] == defaults["batch_size"]
