"""The skeleton of a plugin: a package that works and passes its own tests as written.

The files are ``string.Template`` texts under ``templates/``: those of every kind in ``common``, the
others in a folder per kind. The folder ``package`` there becomes the import package, ``github``
the hidden ``.github``.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Final, Literal, TypeAlias, get_args

from dafm_core.catalog import PluginCatalog
from dafm_core.contract.descriptions import API_VERSION
from dafm_core.errors import OptionError

Kind: TypeAlias = Literal["provider", "pair", "fuser", "dataset"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_SUFFIX = ".template"
_PREFIX = "dafm-plugin-"
_RESERVED: Final = {"oracle": "the row of tables that no model can reach"}
_RECALL: Final = 7.74
"""R@10 in percent of the generated provider on ``scenes`` of 24 families, which it reports."""


def write_plugin(
    name: str,
    folder: str | Path,
    *,
    kind: Kind = "provider",
    catalog: PluginCatalog | None = None,
) -> Path:
    """Write the package ``folder/dafm-plugin-NAME``, and return its folder.

    Parameters
    ----------
    name : str
        Name of what it offers: a lower-case letter, then letters, digits and single hyphens.
        A leading ``dafm-plugin-`` is taken off.
    folder : path
        Where the package's own folder is made.
    kind : {"provider", "pair", "fuser", "dataset"}
    catalog : PluginCatalog, optional
        Whose names are taken; by default what is installed.

    Raises
    ------
    OptionError
        If the name cannot be one or is taken, or the package's folder exists.
    """
    name = name.removeprefix(_PREFIX)
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise OptionError(
            f"new plugin: expected a name of lower-case letters, digits and hyphens, got {name!r}. "
            "Try my-model."
        )
    root = Path(folder) / f"{_PREFIX}{name}"
    if root.exists():
        raise OptionError(f"new plugin: {root} exists. Choose another name or folder.")
    values = _values(name, kind)
    if owner := _owner(name, values["package"], catalog or PluginCatalog.discover()):
        raise OptionError(
            f"new plugin: the name {name!r} is taken by {owner}: installed side by side, one of "
            "the two would not load. Choose another name."
        )
    templates = files(__name__) / "templates"
    try:
        root.mkdir(parents=True)
        for part in ("common", kind):
            _write(templates / part, root, values)
    except OSError as error:
        raise OptionError(f"new plugin: cannot write {root} ({error.strerror}).") from error
    return root


def _owner(name: str, package: str, catalog: PluginCatalog) -> str:
    """Return who has the name already; nothing where it is free."""
    if name in _RESERVED:
        return _RESERVED[name]
    for plugin in catalog.plugins:
        offers = {offer.partition(" ")[2] for offer in plugin.provides}
        if name == plugin.name or name in offers:
            return plugin.distribution or plugin.name
    return f"the installed package {package}" if find_spec(package) else ""


def _values(name: str, kind: Kind) -> dict[str, str]:
    """Return what the templates ask for."""
    major, minor = version("dafm-core").split(".")[:2]
    return {
        "name": name,
        "noun": "pair provider" if kind == "pair" else kind,
        "package": f"dafm_plugin_{name.replace('-', '_')}",
        "class_name": "".join(part.capitalize() for part in name.split("-")),
        "api_version": str(API_VERSION),
        "core_version": f"{major}.{minor}",
        "next_version": f"{major}.{int(minor) + 1}",
        "reported": str(_RECALL),
    }


def _write(source: Traversable, target: Path, values: dict[str, str]) -> None:
    """Write every template below ``source``, folder by folder."""
    names = {"package": values["package"], "github": ".github"}
    for item in source.iterdir():
        if item.is_dir():
            path = target / names.get(item.name, item.name)
            path.mkdir(exist_ok=True)
            _write(item, path, values)
        elif item.name.endswith(_SUFFIX):
            path = target / item.name.removesuffix(_SUFFIX)
            text = Template(item.read_text(encoding="utf-8")).substitute(values)
            path.write_text(text, encoding="utf-8")
