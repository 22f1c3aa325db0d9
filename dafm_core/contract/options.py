"""Options as one frozen dataclass: its fields are the ``--set`` options, with ranges and summaries.

A class that takes many options keeps them in one value; what the command line lists, what the
constructor accepts and what is saved all follow from its fields. A field may itself hold options:
they are given flat, by their own names.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Self, get_args, get_origin, get_type_hints

from dafm_core.contract.descriptions import Option
from dafm_core.errors import OptionError, closest

LARGEST: Final = sys.float_info.max
WHOLE: Final = 2**63
"""What a signed whole number of eight bytes is below."""

_KINDS: dict[type, Literal["str", "int", "float", "bool"]] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
}


def option(
    default: Any,
    summary: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
) -> Any:
    """Return a dataclass field for one option.

    Parameters
    ----------
    default : str, int, float or bool
    summary : str
        One line, for listings.
    at_least, at_most, above : float, optional
        Range of a number: ``at_least <= value <= at_most`` and ``value > above``.
    """
    metadata = {"summary": summary, "at_least": at_least, "at_most": at_most, "above": above}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Base of options: a frozen dataclass of :func:`option` fields, checked when it is made.

    A field of a ``Literal`` type takes only its values. ``owner`` starts every message.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class Training(Options):
    ...     n_epochs: int = option(30, "passes over the examples", at_least=0)
    >>> @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class Mine(Options):
    ...     owner = "mine"
    ...     training: Training = Training()
    ...     seed: int = option(0, "of every draw")
    >>> Mine.of({"n_epochs": 3}).flat()
    {'n_epochs': 3, 'seed': 0}
    >>> Mine.of({"n_epoch": 3})
    Traceback (most recent call last):
    ...
    dafm_core.errors.OptionError: mine: unknown option 'n_epoch'; did you mean 'n_epochs'?
    """

    owner: ClassVar[str] = "options"

    def __post_init__(self) -> None:
        self.check(self.owner)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the options with some values changed, all given flat by name.

        Raises
        ------
        OptionError
            For an unknown name, with the closest match, or a value out of range.
        """
        known = cls._homes()
        for name in values:
            if name not in known:
                raise OptionError(f"{cls.owner}: unknown option {name!r}{closest(name, known)}")
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if isinstance(field.default, Options):
                nested = copy.copy(field.default)
                for name, value in values.items():
                    if known[name] == field.name:  # checked below, in this owner's name
                        object.__setattr__(nested, name, value)
                changes[field.name] = nested
            elif field.name in values:
                changes[field.name] = values[field.name]
        return cls(**changes)

    @classmethod
    def described(cls, defaults: Options | None = None) -> tuple[Option, ...]:
        """Return one description per option, for ``--set`` and listings.

        Parameters
        ----------
        defaults : Options, optional
            Where default values come from; by default the class's own.
        """
        found: list[Option] = []
        for field in dataclasses.fields(cls):
            if isinstance(field.default, Options):
                found += type(field.default).described(field.default)
                continue
            default: Any = field.default if defaults is None else getattr(defaults, field.name)
            found.append(
                Option(
                    name=field.name,
                    summary=field.metadata["summary"],
                    kind=_KINDS[type(field.default)],
                    default=default,
                    choices=_choices(cls, field),
                )
            )
        return tuple(found)

    def flat(self) -> dict[str, Any]:
        """Return every option by name, those of nested options among them."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            values |= value.flat() if isinstance(value, Options) else {field.name: value}
        return values

    def check(self, owner: str) -> None:
        """Raise OptionError unless every value is of its kind and in its range."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Options):
                value.check(owner)
            elif choices := _choices(type(self), field):
                if value not in choices:
                    raise OptionError(
                        f"{owner}: no {field.name} {value!r}{closest(str(value), choices)}"
                    )
            else:
                _check_value(value, field, owner)

    @classmethod
    def _homes(cls) -> dict[str, str]:
        """Return, by option, the field that holds it: its own, or that of nested options."""
        homes: dict[str, str] = {}
        for field in dataclasses.fields(cls):
            default = field.default
            names = default._homes() if isinstance(default, Options) else [field.name]
            homes |= dict.fromkeys(names, field.name)
        return homes


def _choices(options: type[Options], field: dataclasses.Field[Any]) -> tuple[str, ...]:
    """Return the values of a field of a ``Literal`` type; nothing for other fields."""
    if not isinstance(field.default, str):
        return ()
    hint = get_type_hints(options)[field.name]
    return get_args(hint) if get_origin(hint) is Literal else ()


def _check_value(value: Any, field: dataclasses.Field[Any], owner: str) -> None:
    kind = type(field.default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {int: isinstance(value, int) and is_number, float: is_number}
    if not fits.get(kind, isinstance(value, kind)):
        raise OptionError(f"{owner}: expected {field.name} of type {kind.__name__}, got {value!r}.")
    limits = {name: field.metadata.get(name) for name in ("at_least", "above", "at_most")}
    in_range = (
        (limits["at_least"] is None or value >= limits["at_least"])
        and (limits["at_most"] is None or value <= limits["at_most"])
        and (limits["above"] is None or value > limits["above"])
    )
    if not in_range:
        signs = {"at_least": ">=", "at_most": "<=", "above": ">"}
        wanted = " and ".join(f"{signs[k]} {v:g}" for k, v in limits.items() if v is not None)
        raise OptionError(f"{owner}: expected {field.name} {wanted}, got {value!r}.")
    if is_number and not -LARGEST <= value <= LARGEST:
        raise OptionError(f"{owner}: expected {field.name} finite, got {value!r}.")
    if kind is int and abs(value) >= WHOLE:
        raise OptionError(f"{owner}: expected {field.name} below 2 ** 63, got {value!r}.")
