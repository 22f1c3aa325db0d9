"""The contract between dafm and a frozen CIR model: what a plugin describes, and what it computes.

A plugin lists :class:`ProviderInfo` descriptions, which are cheap; the factory they name is
imported only when the
provider is used. The boundary type is NumPy: core never sees a model's framework. Nothing here
loads or scores
anything (see ``plugins.py`` and ``scoring.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import OptionError, closest
from dafm_core.images import ImageRef

API_VERSION = 1
"""Version of this contract; a plugin may state the one it was written for as ``dafm_api_version``.
"""

Features: TypeAlias = NDArray[np.float32]
"""One item per row, any trailing shape: ``(n, D)`` vectors, ``(n, T, D)`` tokens, ``(n, 0)`` for
nothing.
"""

Similarity: TypeAlias = NDArray[np.float32]
"""``(n_queries, n_gallery)``, finite, higher is better; rows and columns in the order given."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """One composed query: a reference image and the text that modifies it."""

    id: str
    reference: ImageRef
    text: str


@runtime_checkable
class SimilarityProvider(Protocol):
    """The least a frozen model must offer: similarities of queries against the whole gallery.

    A provider may also have ``fingerprint``, a mapping of strings that decides its output
    (checkpoint sha256,
    preprocessing, text template); it is written into the passport and keys the cache of gallery
    features.
    """

    def similarity(self, queries: Sequence[Query], gallery: Sequence[ImageRef]) -> Similarity:
        """Return scores of shape ``(len(queries), len(gallery))``."""
        ...


@runtime_checkable
class EncodingProvider(Protocol):
    """A model that factors; core then batches, caches, shows progress and resumes.

    Core calls ``encode_gallery`` and ``encode_queries`` on blocks; a provider splits a block
    further by its own
    ``batch_size`` where its memory asks for it.
    """

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return one row of features per image."""
        ...

    def encode_queries(self, references: Sequence[ImageRef], texts: Sequence[str]) -> Features:
        """Return one row of features per pair of reference image and text."""
        ...

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return scores of shape ``(len(queries), len(gallery))`` from features."""
        ...


Provider: TypeAlias = SimilarityProvider | EncodingProvider


def is_encoding(provider: Provider) -> bool:
    """Whether the provider factors into gallery and query features."""
    return isinstance(provider, EncodingProvider)


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
            return _PARSERS[self.kind](value)
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


_PARSERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "path": lambda value: Path(value).expanduser(),
    "int": int,
    "float": float,
    "bool": _parse_bool,
}


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
    """

    name: str
    summary: str
    factory: str | Callable[..., Provider]
    citation: str = ""
    licence: str = ""
    options: tuple[Option, ...] = ()


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
