"""The description is light and complete."""

from __future__ import annotations

import subprocess
import sys

from dafm_plugin_clip4cir.plugin import dafm_similarity_providers

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
