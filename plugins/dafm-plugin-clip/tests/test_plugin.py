"""The description is light and complete."""

import subprocess
import sys

from dafm_plugin_clip import plugin

SILENT = """
import sys, dafm_plugin_clip.plugin as plugin
plugin.dafm_similarity_providers()
print(sorted({"torch", "transformers", "numpy", "PIL", "huggingface_hub"} & sys.modules.keys()))
"""


def test_listing_imports_nothing_heavy() -> None:
    command = [sys.executable, "-W", "error", "-c", SILENT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_provider_is_described() -> None:
    names = [info.name for info in plugin.dafm_similarity_providers()]
    assert names == ["clip", "pic2word", "searle", "lincir"]
