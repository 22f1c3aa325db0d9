"""The description is light and complete."""

from __future__ import annotations

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


def test_the_provider_is_described() -> None:
    (info,) = dafm_similarity_providers()
    assert info.name == "tgcir"
    assert all((info.citation, info.licence, info.summary))
