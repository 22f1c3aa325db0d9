"""Each wheel carries the licence, and the notice of the published tables that it follows."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_carries_licence_and_notice_of_the_repository(plugin):
    assert (plugin / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    notice = (ROOT / "NOTICE").read_bytes()
    if f"plugins/{plugin.name}/".encode() in notice:
        assert (plugin / "NOTICE").read_bytes() == notice
