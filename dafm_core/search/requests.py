"""What is asked: references, a text, how many hits, and a filter over the gallery's columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query
from dafm_core.errors import DatasetError, OptionError, closest
from dafm_core.ground.printable import first_line
from dafm_core.search.index import GalleryIndex

MAX_TEXT: Final = 10_000
"""Characters of a text that are taken."""
MAX_FILTER: Final = 100_000
MAX_WORDS: Final = 300
"""Characters of a filter; its words and signs, where values in lists do not count."""
_LITERAL: Final = re.compile(r"'(?:[^']|'')*'\s*,?|\b\d[\w.]*\s*,?")
_WORD: Final = re.compile(r"\w+|[^\w\s]")

Reference: TypeAlias = str | Path | ImageRef
Filter: TypeAlias = str | pl.Expr | Collection[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """One query, as a user puts it.

    Parameters
    ----------
    references : sequence of str, Path or ImageRef
        Ids of the gallery, or files.
    text : str
    k : int
        Hits wanted.
    filter : str, polars.Expr or collection of str, optional
        Which images may be hits: ids, or a condition on the gallery's columns, as a polars
        expression or in SQL (``"kind = 'dress' and price < 50"``). It hides images and changes no
        score.
    exclude : collection of str, optional
        Ids that are no candidates; by default the references that are images of the gallery.
    vectors : mapping of str to ndarray
        The query's features, for providers whose features were made elsewhere.
    """

    references: Sequence[Reference] = ()
    text: str = ""
    k: int = 10
    filter: Filter | None = None
    exclude: Collection[str] | None = None
    vectors: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def query(self, index: GalleryIndex) -> Query:
        """Return the query as providers see it, its reference files opened once.

        Raises
        ------
        DatasetError
            For neither text nor reference, an unknown id, or a text that is too long.
        ImageError
            If a reference is missing or no image.
        OptionError
            For a k that is no number of hits.
        """
        if not 1 <= self.k <= index.n_images:
            raise OptionError(
                f"k: expected 1 to {index.n_images}, the number of images, got {self.k}."
            )
        if len(self.text) > MAX_TEXT:
            raise DatasetError(f"text: expected at most {MAX_TEXT} characters, got more.")
        if not self.references and not self.text.strip() and not self.vectors:
            raise DatasetError("query: expected a text or a reference image, got neither.")
        references = tuple(_reference(r, index) for r in self.references)
        for reference in references:
            if reference.path is not None:
                reference.open()
        return Query(id="live", references=references, text=self.text)

    def excluded(self, query: Query, index: GalleryIndex) -> NDArray[np.int64]:
        """Return the columns of images that are no candidates."""
        if self.exclude is not None:
            return index.ids.positions(
                self.exclude, where="exclude", what="image", error=DatasetError
            )
        places = (index.ids.get(reference.id) for reference in query.references)
        return np.array([place for place in places if place is not None], np.int64)

    def shown(self, index: GalleryIndex) -> NDArray[np.bool_] | None:
        """Return which images the filter lets through, (N,); None where there is none.

        Raises
        ------
        DatasetError
            For unknown ids.
        OptionError
            For a condition that cannot be read, or names no column.
        """
        if self.filter is None:
            return None
        if isinstance(self.filter, str | pl.Expr):
            return _matching(self.filter, index)
        shown = np.zeros(index.n_images, bool)
        shown[
            index.ids.positions(self.filter, where="filter", what="image", error=DatasetError)
        ] = True
        return shown


def filter_columns(index: GalleryIndex) -> dict[str, str]:
    """Return the columns that a filter may name, with their types."""
    return {
        name: str(dtype)
        for name, dtype in index.images.schema.items()
        if name not in ("path", "part", "row")
    }


def _reference(reference: Reference, index: GalleryIndex) -> ImageRef:
    if isinstance(reference, ImageRef):
        return reference
    if isinstance(reference, str) and reference in index.ids:
        return index.image(reference)
    path = Path(reference)
    if isinstance(reference, str) and not path.exists():
        raise DatasetError(
            f"reference {reference!r}: neither an image of the gallery nor a file"
            f"{closest(reference, index.ids[:10_000]) if index.n_images <= 10_000 else '.'}"
        )
    return ImageRef(path.name, path)


def _check_length(condition: str) -> None:
    """Raise OptionError for more than one condition needs: the time of a long chain of them grows
    with the third power of its length, and its nesting could end the process.
    """
    n_words = len(_WORD.findall(_LITERAL.sub(" ", condition)))
    if len(condition) > MAX_FILTER or n_words > MAX_WORDS:
        raise OptionError(
            f"filter: expected at most {MAX_WORDS} words and signs and {MAX_FILTER} characters, "
            "got more. Write a choice among values as a list: column IN ('a', 'b')."
        )


def _matching(condition: str | pl.Expr, index: GalleryIndex) -> NDArray[np.bool_]:
    known = filter_columns(index)
    if isinstance(condition, str):
        _check_length(condition)
    try:
        expression = pl.sql_expr(condition) if isinstance(condition, str) else condition
        named = expression.meta.root_names()
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        raise OptionError(f"filter: cannot be read ({first_line(error)}).") from None
    for name in named:
        if name not in known:
            raise OptionError(f"filter: no column {name!r}{closest(name, known)}")
    try:
        column = index.images.select(list(known)).select(expression.alias("shown"))["shown"]
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        raise OptionError(f"filter: cannot be used ({first_line(error)}).") from None
    if column.dtype != pl.Boolean or len(column) not in (1, index.n_images):
        raise OptionError(
            f"filter: expected a condition, true or false for each image, got {column.dtype}."
        )
    shown = column.fill_null(False).to_numpy()
    return np.broadcast_to(shown, index.n_images).copy()
