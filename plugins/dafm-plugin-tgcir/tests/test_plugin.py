"""The description is light, complete and leads to the factory."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

from dafm_plugin_tgcir.plugin import dafm_similarity_providers


def test_importing_the_plugin_imports_no_framework() -> None:
    code = (
        "import sys, dafm_plugin_tgcir.plugin as p; p.dafm_similarity_providers();"
        "print(*{'torch', 'transformers', 'tokenizers', 'ftfy', 'PIL'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_options_are_the_keywords_of_the_factory() -> None:
    (info,) = dafm_similarity_providers()
    assert info.name == "tgcir"
    assert all((info.citation, info.licence, info.summary))
    module, _, attribute = str(info.factory).partition(":")
    keywords = inspect.signature(getattr(importlib.import_module(module), attribute)).parameters
    assert {option.name for option in info.options} == keywords.keys()
    for option in info.options:
        default = keywords[option.name].default
        assert option.required or option.name == "vocabulary" or option.default == default


def test_decoding_workers_import_no_framework() -> None:
    code = (
        "import sys, dafm_plugin_tgcir.preprocessing as p;"
        "print(*{'torch', 'transformers'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
