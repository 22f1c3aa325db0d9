"""Print the oldest release that each package of this repository declares to work with.

``make test-oldest`` installs these. Only direct requirements are pinned: what they require in turn
is whatever pip finds that fits.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def main() -> None:
    lines = set()
    for path in (ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads(path.read_text())["project"]
        for line in project["dependencies"]:
            requirement = Requirement(line)
            lowest = [s.version for s in requirement.specifier if s.operator == ">="]
            if not requirement.name.startswith("dafm-"):
                lines.add(f"{requirement.name}=={lowest[0]}")
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    main()
