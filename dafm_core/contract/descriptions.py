"""Light descriptions of what a plugin offers: providers, fusers, datasets and their options.

Imports neither NumPy nor any model, so that listing everything installed stays instant. What the
descriptions' factories return is defined in ``provider.py``, ``fusion/base.py`` and
``datasets/base.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dafm_core.errors import OptionError, closest

Factory: TypeAlias = str | Callable[..., Any]
"""``"module:attr"``, imported on first use, or a callable. What it returns is checked when it is
made, in ``catalog.py``: the contract stands below datasets and fusers, and cannot import them.
"""

API_VERSION = 2
"""Version of the plugin contract; a plugin states its own as ``dafm_api_version``.

Version 2: ``encode_queries(queries)`` takes queries with any number of references, where version 1
took reference images and texts.
"""

CHANGES = {
    1: "encode_queries(queries) replaces encode_queries(references, texts): read query.reference "
    "and query.text, then state dafm_api_version = 2",
}
"""What a plugin of an older version has to change."""

Kind: TypeAlias = Literal["single", "static", "learned"]
References: TypeAlias = Literal["one", "any", "none"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a factory, as ``--set name=value`` gives it.

    ``default=None`` with ``required=False`` means the factory decides.
    """

    name: str
    summary: str
    kind: Literal["str", "path", "int", "float", "bool"] = "str"
    default: str | int | float | bool | None = None
    required: bool = False
    choices: tuple[str, ...] = ()

    def parse(self, value: str, *, where: str) -> Any:
        """Return ``value`` as this option's kind; raise OptionError that names ``where``."""
        if self.choices and value not in self.choices:
            raise OptionError(
                f"{where}: option {self.name!r} got {value!r}{closest(value, self.choices)}"
            )
        try:
            return PARSERS[self.kind](value)
        except ValueError:
            raise OptionError(
                f"{where}: option {self.name!r} expects {self.kind}, got {value!r}."
            ) from None


def _parse_bool(value: str) -> bool:
    try:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
            value.lower()
        ]
    except KeyError:
        raise ValueError(value) from None


PARSERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "path": lambda value: Path(value).expanduser(),
    "int": int,
    "float": float,
    "bool": _parse_bool,
}
"""How each kind of option reads its text."""


@dataclass(frozen=True, kw_only=True)
class ProviderInfo:
    """The light description of one provider.

    Parameters
    ----------
    name : str
        ``[a-z0-9][a-z0-9-]*``; the folder of its matrix in a store.
    summary : str
        One line.
    factory : str or callable
        ``"module:attr"``, imported on first use, or a callable; called with the options as
        keywords.
    references : {"one", "any", "none"}
        How many reference images a query may have: exactly one, any number, or any number because
        the model reads the text alone. Core refuses other queries before it scores the first.
    reported : mapping of protocol to mapping of metric to float
        What its authors report, in percent, e.g. ``{"cirr-val": {"recall@10": 84.8}}``; ``dafm
        check NAME --on DATASET`` measures it.
    """

    name: str
    summary: str
    factory: Factory
    references: References = "one"
    citation: str = ""
    licence: str = ""
    options: tuple[Option, ...] = ()
    reported: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def parse_options(
    options: Sequence[Option], given: Mapping[str, str], *, where: str
) -> dict[str, Any]:
    """Return typed keyword arguments for a factory from ``--set`` strings.

    Raises
    ------
    OptionError
        For an unknown key (with the closest match), a value of the wrong kind, or a required
        option left out.
    """
    known = {option.name: option for option in options}
    for key in given:
        if key not in known:
            raise OptionError(f"{where}: unknown option {key!r}{closest(key, known)}")
    missing = [option.name for option in options if option.required and option.name not in given]
    if missing:
        raise OptionError(
            f"{where}: option {missing[0]!r} is required. Give it as --set {missing[0]}=VALUE."
        )
    values = {o.name: o.default for o in options if o.default is not None}
    return values | {key: known[key].parse(value, where=where) for key, value in given.items()}


@dataclass(frozen=True, kw_only=True)
class FuserInfo:
    """The light description of a fuser.

    Parameters
    ----------
    name : str
        What ``--fusers`` takes.
    factory : str or callable
        ``"module:attr"`` or a callable; called with the options as keywords, returns a Fuser.
    kind : {"single", "static", "learned"}
        ``single`` keeps one provider; a static rule has at most a weight per provider or a
        constant to tune, or weights that were fixed before it saw the data.
    """

    name: str
    summary: str
    factory: Factory
    kind: Kind
    citation: str = ""
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """The light description of a dataset reader.

    Parameters
    ----------
    name : str
        What stands before the colon in ``NAME:PATH``.
    factory : str or callable
        ``"module:attr"`` or a callable; called as ``factory(path, split=..., **options)``, returns
        a Dataset.
    splits : tuple of str
        Splits it knows; the first is the default.
    needs_path : bool
        False for an embedded dataset.
    """

    name: str
    summary: str
    factory: Factory
    splits: tuple[str, ...] = ()
    needs_path: bool = True
    citation: str = ""
    licence: str = ""
    options: tuple[Option, ...] = ()
