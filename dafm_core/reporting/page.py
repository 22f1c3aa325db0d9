"""One self-contained HTML file out of sections: templates, styles, scripts and a strict policy.

Nothing on a page is fetched: styles, scripts and charts are inline, images are data URIs, and the
content security policy forbids everything else. Text is escaped by Jinja2; values for scripts are
embedded as JSON, which no browser runs.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from dafm_core.reporting.exports import write_text
from dafm_core.tables.markup import LOOKS, isolated, table_html

if TYPE_CHECKING:
    from jinja2 import Environment

    from dafm_core.comparison.provenance import Provenance

_TEMPLATES = files("dafm_core.reporting") / "templates"
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of a page.

    Parameters
    ----------
    id : str
        Anchor, and the name of the template ``ID.html``.
    title : str
    view : dataclass
        What the template shows, by attribute.
    parts : tuple of (anchor, title)
        What of it the navigation leads to.
    scripts : tuple of str
        Template files that make it interactive.
    """

    id: str
    title: str
    view: object = field(repr=False)
    parts: tuple[tuple[str, str], ...] = ()
    scripts: tuple[str, ...] = ("tables.js",)


def write_page(
    path: str | Path,
    title: str,
    sections: Sequence[Section],
    *,
    provenance: Provenance | None = None,
) -> Path:
    """Write a page, whole or not at all; return its path."""
    return write_text(path, render_page(title, sections, provenance=provenance))


def render_page(
    title: str, sections: Sequence[Section], *, provenance: Provenance | None = None
) -> str:
    """Return the page as one string; at its end, what it takes to make it again."""
    names = [name for section in sections for name in section.scripts]
    scripts = [_read(name) for name in dict.fromkeys(("paper.js", *names))]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}"
    page = _environment().get_template("page.html")
    return page.render(
        title=title,
        sections=sections,
        provenance=provenance,
        policy=policy,
        style=Markup(_read("style.css")),  # noqa: S704  # our own files
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        version=version("dafm-core"),
    )


def embed(value: Any) -> Markup:
    r"""Return JSON that can stand inside a script element: no character of it can end the element.

    Examples
    --------
    >>> print(embed({"text": "</script>"}))
    {"text":"\u003c/script\u003e"}
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))  # noqa: S704


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dafm_core.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embed"] = embed
    environment.filters["table_html"] = table_html
    environment.filters["isolated"] = isolated
    environment.globals["looks"] = LOOKS
    return environment


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
