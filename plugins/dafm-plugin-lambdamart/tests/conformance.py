"""How the fuser of this plugin is made for core's conformance suite: few trees, for few queries."""

from __future__ import annotations

from pathlib import Path

import pytest


def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Return the ``--set`` options of every fuser, by name."""
    return {"lambdamart": {"n_trees": "20", "min_leaf": "5"}}
