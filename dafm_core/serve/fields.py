"""What a request says, field by field: of its type, once, and known, or refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar

from starlette.datastructures import FormData

from dafm_core.serve.limits import Refused

T = TypeVar("T")


def text_of(form: FormData, name: str, default: str) -> str:
    """Return a field that may be given once."""
    values = form.getlist(name) or [default]
    if len(values) > 1:
        raise Refused(400, f"{name}: expected once, got {len(values)} times.")
    if not isinstance(values[0], str):
        raise Refused(400, f"{name}: expected a text, got a file.")
    return values[0]


def one_of(value: str, known: Mapping[str, T], name: str) -> T:
    """Return what a word stands for."""
    if value not in known:
        raise Refused(400, f"{name}: expected {', '.join(known)}, got {value[:40]!r}.")
    return known[value]


def judgement_of(body: bytes) -> tuple[list[str], str, str, str]:
    """Return references, text, image and mark of a judgement, each of its type."""
    try:
        value = json.loads(body)
        references, rest = value["references"], [value[key] for key in ("text", "image", "mark")]
        if not isinstance(references, list):
            raise TypeError
        if not all(isinstance(text, str) for text in (*references, *rest)):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused(
            400,
            "judgement: expected JSON with references (a list of ids), text, image and mark.",
        ) from None
    text, image, mark = rest
    return references, text, image, mark


def count_of(value: str, name: str) -> int:
    """Return a whole number of at most nine digits."""
    if not value.isdecimal() or len(value) > 9:
        raise Refused(400, f"{name}: expected a number, got {value[:40]!r}.")
    return int(value)
