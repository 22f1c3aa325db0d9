"""Write cli.md from the commands' own help.

python docs/reference/make_cli.py
"""

import os
from pathlib import Path

from dafm_core.cli.main import COMMANDS, build_parser

HEAD = """# Command line

Written by `python docs/reference/make_cli.py` from the commands' own help.

Exit codes: 0 done; 2 the user's input (one line on standard error: what, where, what next); 1 a bug
(traceback); 130 interrupted (what was scored stays, repeat the command to resume).
"""


def main() -> None:
    """Write the page."""
    os.environ["COLUMNS"] = "100"
    helps = {name: build_parser(name).format_help().rstrip() for name in COMMANDS}
    sections = [f"## dafm {name}\n```\n{text}\n```\n" for name, text in helps.items()]
    page = "\n".join([HEAD, *sections])
    Path(__file__).with_name("cli.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
