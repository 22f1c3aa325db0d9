"""The skeleton of a plugin: a package that works and passes its own tests as written.

The files are ``string.Template`` texts under ``templates/``; the folder ``package`` there becomes
the import package.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from dafm_core.contract.descriptions import API_VERSION
from dafm_core.errors import OptionError

_SUFFIX = ".template"
_PREFIX = "dafm-plugin-"


def write_plugin(name: str, folder: str | Path) -> Path:
    """Write the package ``folder/dafm-plugin-NAME``, and return its folder.

    Parameters
    ----------
    name : str
        Name of the provider: a lower-case letter, then letters, digits and single hyphens.
        A leading ``dafm-plugin-`` is taken off.
    folder : path
        Where the package's own folder is made.

    Raises
    ------
    OptionError
        If the name cannot be one, or the package's folder exists.
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
    values = _values(name)
    try:
        root.mkdir(parents=True)
        _write(files(__name__) / "templates", root, values)
    except OSError as error:
        raise OptionError(f"new plugin: cannot write {root} ({error.strerror}).") from error
    return root


def _values(name: str) -> dict[str, str]:
    """Return what the templates ask for."""
    major, minor = version("dafm-core").split(".")[:2]
    return {
        "name": name,
        "package": f"dafm_plugin_{name.replace('-', '_')}",
        "class_name": "".join(part.capitalize() for part in name.split("-")),
        "api_version": str(API_VERSION),
        "core_version": f"{major}.{minor}",
        "next_version": f"{major}.{int(minor) + 1}",
    }


def _write(source: Traversable, target: Path, values: dict[str, str]) -> None:
    """Write every template below ``source``, folder by folder."""
    for item in source.iterdir():
        if item.is_dir():
            path = target / (values["package"] if item.name == "package" else item.name)
            path.mkdir()
            _write(item, path, values)
        elif item.name.endswith(_SUFFIX):
            path = target / item.name.removesuffix(_SUFFIX)
            text = Template(item.read_text(encoding="utf-8")).substitute(values)
            path.write_text(text, encoding="utf-8")
