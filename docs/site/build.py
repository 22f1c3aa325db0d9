"""Build the documentation site into out/site: ``python docs/site/build.py``.

The pages are the Markdown files of ``docs/``, the plugins' READMEs, README, CONTRIBUTING and
CHANGELOG, staged under out/site-pages with their links turned to each other. Written here besides:
a page per public name from its docstring, a page per section of what is looked up one by one
(errors, file formats, limits), and the laws that plugins are checked against. A warning of Sphinx
or a link that leads nowhere ends with exit code 1.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import dafm_core
from dafm_core import testing

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
STAGE = ROOT / "out" / "site-pages"
SITE = ROOT / "out" / "site"
SPLIT = ("reference/errors", "reference/formats", "reference/limits")
"""Pages with a page of its own for each section."""

MENU = {
    "Start here": ["overview", "tutorials/*", "faq"],
    "How to": ["how-to/*"],
    "Look it up": [
        *("reference/cli", "reference/api", "reference/hooks/*", "reference/formats"),
        *("reference/errors", "reference/limits", "reference/durations", "reference/*"),
    ],
    "Plugins": ["plugins/*"],
    "Why it is so": ["explanation/*"],
    "About": ["contributing", "changelog", "SECURITY"],
}
"""Captions of the menu, and the pages under each; what is under none is an error."""

LAWS: dict[str, Callable[[], Iterable[testing.Check]]] = {
    "descriptions": testing.description_checks,
    "providers": testing.provider_checks,
    "pairs": testing.pair_checks,
    "fusers": testing.fuser_checks,
    "datasets": testing.dataset_checks,
}
ORPHAN = "---\norphan: true\n---\n"
"""On no menu, which is drawn on every page: reached from the page that lists them."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Page:
    """A Markdown file, and the name under which it is staged."""

    source: Path
    name: str

    @property
    def text(self) -> str:
        return self.source.read_text(encoding="utf-8")


def pages() -> dict[Path, Page]:
    """Return every page by the file it is made of."""
    found = [Page(ROOT / "README.md", "overview"), Page(DOCS / "README.md", "index")]
    found += [Page(ROOT / f"{n.upper()}.md", n) for n in ("contributing", "changelog")]
    found += [Page(p, f"plugins/{p.parent.name}") for p in ROOT.glob("plugins/*/README.md")]
    for path in DOCS.rglob("*.md"):
        if path != DOCS / "README.md":
            found.append(Page(path, path.relative_to(DOCS).with_suffix("").as_posix()))
    return {page.source: page for page in found}


def slug(title: str) -> str:
    """Return the anchor of a heading, as Sphinx and code hosts make it."""
    return re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-")


def sections(text: str) -> tuple[str, dict[str, str]]:
    """Return what stands above the sections, and each section by its title."""
    head, *parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return head, dict(zip(parts[::2], parts[1::2], strict=True))


def linked(text: str, source: Path, name: str, known: dict[Path, Page]) -> str:
    """Return a text whose links lead to staged pages; other files are named, not linked."""

    def turn(match: re.Match[str]) -> str:
        picture, words, target = match.groups()
        path, anchor = urldefrag(target)
        if re.match(r"[a-z]+:", target) or not path:
            return match[0]
        goal = (source.parent / path).resolve()
        if picture:
            place = STAGE / "pictures" / goal.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(goal, place)
            return f"![{words}]({_relative(f'pictures/{goal.name}', name)})"
        if goal not in known:
            return words
        page = known[goal].name
        if page in SPLIT and anchor:
            page, anchor = f"{page}/{anchor}", ""
        return f"[{words}]({_relative(page, name)}.md{'#' * bool(anchor)}{anchor})"

    return LINK.sub(turn, text)


def _relative(goal: str, start: str) -> str:
    return posixpath.relpath(goal, posixpath.dirname(start) or ".")


def with_laws(text: str) -> str:
    """Return a text with the checks of a battery in place of ``<!-- laws: NAME -->``."""

    def table(match: re.Match[str]) -> str:
        rows = [f"| `{check}` | {check.law} |" for check in LAWS[match[1]]()]
        return "\n".join(["| check | what has to hold |", "|---|---|", *rows])

    return re.sub(r"<!-- laws: (\w+) -->", table, text)


def stage(known: dict[Path, Page]) -> list[str]:
    """Write every page; return their names."""
    names = []
    for page in known.values():
        text = with_laws(page.text)
        if page.name in SPLIT:
            head, parts = sections(text)
            children = {f"{page.name}/{slug(title)}": title for title in parts}
            for child, title in children.items():
                body = "# " + title + "\n" + parts[title].replace("\n### ", "\n## ")
                write(child, ORPHAN + linked(body, page.source, child, known))
            links = [f"* [{title}]({_relative(c, page.name)}.md)" for c, title in children.items()]
            text = "\n".join([head, *links, ""])
            names += children
        write(page.name, linked(text, page.source, page.name, known))
        names.append(page.name)
    return names + stage_api()


def stage_api() -> list[str]:
    """Write a page per public name, and one that lists them."""
    found = {}
    for public in dafm_core.__all__:
        thing = getattr(dafm_core, public)
        directive = "autoclass" if isinstance(thing, type) else "autofunction"
        body = f"# {public}\n```{{eval-rst}}\n.. {directive}:: dafm_core.{public}\n```\n"
        write(f"reference/api/{public}", ORPHAN + body)
        found[f"reference/api/{public}"] = public
    rows = [
        f"| [{public}](api/{public}.md) | {_first_line(getattr(dafm_core, public))} |"
        for public in found.values()
    ]
    table = "\n".join(["| name | |", "|---|---|", *rows])
    head = "# Python\n`import dafm_core as dafm` gives these names, each imported on first use.\n\n"
    write("reference/api", f"{head}{table}\n")
    return [*found, "reference/api"]


def _first_line(thing: object) -> str:
    text = " ".join((thing.__doc__ or "").strip().split("\n\n")[0].split())
    return re.sub(r"``", "`", re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text)).replace("|", "\\|")


def menu(caption: str, entries: Iterable[str]) -> str:
    """Return a toctree that shows in the menu alone."""
    options = [f":caption: {caption}", ":hidden:", ":maxdepth: 1"]
    return "\n".join(["", "```{toctree}", *options, *(f"/{e}" for e in entries), "```", ""])


def write_menu(names: list[str]) -> None:
    """Add the menu to the first page; expect every page to be on it."""
    listed = {"index"} | {n for n in names if n.rpartition("/")[0] in (*SPLIT, "reference/api")}
    text = (STAGE / "index.md").read_text(encoding="utf-8")
    for caption, patterns in MENU.items():
        entries: list[str] = []
        for pattern in patterns:
            folder = pattern.removesuffix("*")
            inside = sorted(n for n in names if n.rpartition("/")[0] + "/" == folder)
            found = inside if pattern.endswith("*") else [pattern]
            entries += [name for name in found if name not in entries]
        listed |= set(entries)
        text += menu(caption, entries)
    if left_out := sorted(set(names) - listed):
        sys.exit(f"build: on no menu: {', '.join(left_out)}. Add them to MENU.")
    write("index", text)


def write(name: str, text: str) -> None:
    path = STAGE / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


class _Anchors(HTMLParser):
    """Collects where a page links to, and what on it can be linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {given[key] or "" for key in ("id", "name") if key in given}
        self.links += [v for key in ("href", "src") if (v := given.get(key))]


def dead_links(site: Path) -> list[str]:
    """Return every link between pages of a site that leads nowhere."""
    read: dict[Path, _Anchors] = {}
    for path in site.rglob("*.html"):
        read[path] = _Anchors()
        read[path].feed(path.read_text(encoding="utf-8"))
    dead = []
    for path, page in read.items():
        for link in page.links:
            if re.match(r"[a-z]+:|//", link):
                continue
            target, anchor = urldefrag(unquote(link))
            goal = (path.parent / target.partition("?")[0]).resolve() if target else path
            there = goal.is_file() and (not anchor or goal not in read or anchor in read[goal].ids)
            if not there:
                dead.append(f"{path.relative_to(site)}: {link}")
    return dead


def main() -> None:
    started = time.perf_counter()
    for folder in (STAGE, SITE):
        shutil.rmtree(folder, ignore_errors=True)
    write_menu(stage(pages()))
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run([*command, "-c", str(DOCS / "site"), str(STAGE), str(SITE)], check=False)
    if done.returncode:
        sys.exit("build: Sphinx has warnings; see above.")
    if dead := dead_links(SITE):
        sys.exit("build: links that lead nowhere:\n" + "\n".join(dead))
    n_pages = sum(1 for _ in SITE.rglob("*.html"))
    print(f"{SITE}: {n_pages} pages, no dead link, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
