"""Print the oldest release that each package of this repository declares to work with.

``make test-oldest`` installs these; where two packages declare different ones, the newer of them.
Only direct requirements are pinned: what they require in turn is whatever pip finds that fits.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def main() -> None:
    oldest: dict[str, Version] = {}
    for path in (ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads(path.read_text())["project"]
        for line in project["dependencies"]:
            requirement = Requirement(line)
            lowest = [Version(s.version) for s in requirement.specifier if s.operator == ">="]
            if not requirement.name.startswith("dafm-"):
                before = oldest.get(requirement.name, lowest[0])
                oldest[requirement.name] = max(before, lowest[0])
    print("\n".join(f"{name}=={release}" for name, release in sorted(oldest.items())))


if __name__ == "__main__":
    main()
