"""The description is light and complete: its options are exactly what the factories take."""

import inspect
import subprocess
import sys
from importlib.metadata import entry_points

from dafm_plugin_blip4cir import plugin, provider

from dafm_core.contract.descriptions import parse_options

SILENT = """
import sys, dafm_plugin_blip4cir.plugin as plugin
plugin.dafm_similarity_providers()
print(sorted({"torch", "transformers", "numpy", "PIL"} & sys.modules.keys()))
"""


def test_listing_imports_nothing_heavy() -> None:
    command = [sys.executable, "-W", "error", "-c", SILENT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_entry_point_leads_to_the_plugin() -> None:
    (entry,) = (e for e in entry_points(group="dafm") if e.name == "blip4cir")
    assert entry.load() is plugin


def test_options_and_defaults_are_those_of_the_factories() -> None:
    infos = {info.name: info for info in plugin.dafm_similarity_providers()}
    assert list(infos) == ["blip4cir", "blip4cir-bi", "blip4cir-bi-sum"]
    taken = {name: inspect.signature(provider.load).parameters for name in ("blip4cir",)}
    taken["blip4cir-bi"] = inspect.signature(provider._load_bi).parameters
    taken["blip4cir-bi-sum"] = dict(taken["blip4cir-bi"])
    taken["blip4cir-bi-sum"].pop("combiner")  # type: ignore[attr-defined]
    for name, info in infos.items():
        defaults = {
            key: None if parameter.default is inspect.Parameter.empty else parameter.default
            for key, parameter in taken[name].items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        defaults = {k: v for k, v in defaults.items() if k != "where"}
        assert {option.name: option.default for option in info.options} == defaults
        module, _, function = str(info.factory).partition(":")
        assert module == provider.__name__
        assert callable(getattr(provider, function))
        required = {o.name: "a.pt" for o in info.options if o.required}
        values = parse_options(info.options, required, where=name)
        assert values["batch_size"] == defaults["batch_size"]
