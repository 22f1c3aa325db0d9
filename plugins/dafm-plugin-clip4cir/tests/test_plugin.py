"""The description is light, complete and leads to the factory."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest
from dafm_plugin_clip4cir.plugin import dafm_similarity_providers

from dafm_core.contract.descriptions import ProviderInfo

INFOS = dafm_similarity_providers()


def test_importing_the_plugin_imports_no_framework() -> None:
    code = (
        "import sys, dafm_plugin_clip4cir.plugin as p; p.dafm_similarity_providers();"
        "print(*{'torch', 'transformers', 'tokenizers', 'ftfy', 'PIL'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_both_providers_are_described() -> None:
    assert [info.name for info in INFOS] == ["clip4cir", "clip4cir-sum"]
    assert all(info.citation and info.licence and info.summary for info in INFOS)


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_options_are_the_keywords_of_the_factory(info: ProviderInfo) -> None:
    module, _, attribute = str(info.factory).partition(":")
    keywords = inspect.signature(getattr(importlib.import_module(module), attribute)).parameters
    names = {option.name for option in info.options}
    assert names == keywords.keys() - ({"combiner"} if info.name == "clip4cir-sum" else set())
    for option in info.options:
        default = keywords[option.name].default
        assert option.required or option.name == "vocabulary" or option.default == default
