"""The child process that imports one plugin and says what it describes: ``python -m`` this module
with the name and the value of an entry point.

Its answer is one JSON object on the standard output that it was started with. Whatever the plugin
prints goes nowhere; whatever it raises is said; and should it end the process or never return, the
parent says so.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import EntryPoint
from typing import Any

from dafm_core.discovery.offers import Offers
from dafm_core.ground.printable import first_line

GROUP = "dafm"


def load(name: str, value: str) -> object:
    """Import what an entry point names."""
    return EntryPoint(name, value, GROUP).load()


def described(name: str, value: str) -> dict[str, Any]:
    """Return the offers of an entry point as JSON values, or why there are none."""
    try:
        return {"offers": Offers.of(load(name, value), name=name).to_json()}
    except BaseException as error:  # SystemExit and the like included: it is said, not done
        words = first_line(error)
        return {"error": f"{type(error).__name__}: {words}"}


def main(name: str, value: str) -> None:
    """Answer on standard output, which nobody else can write to, and end at once."""
    answer = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    found = described(name, value)
    try:
        text = json.dumps(found)
    except (TypeError, ValueError) as error:
        text = json.dumps({"error": f"its description is no JSON ({error})"})
    with os.fdopen(answer, "w", encoding="utf-8") as out:
        out.write(text)
    os._exit(0)  # what it left to be done at the end is not waited for


if __name__ == "__main__":
    main(*sys.argv[1:3])
