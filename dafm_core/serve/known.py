"""Queries whose targets are known, to look through on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dafm_core.datasets.base import Dataset
from dafm_core.fusion.base import Fuser
from dafm_core.search.index import GalleryIndex


@dataclass(frozen=True, eq=False)
class KnownQueries:
    """The queries of a dataset that can be asked of an index: all their references are in it.

    Parameters
    ----------
    rows : list of dict
        ``id``, ``references``, ``text``, ``targets`` and ``seen`` (whether the fusion was fitted on
        it).
    """

    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, dataset: Dataset, index: GalleryIndex, fuser: Fuser) -> KnownQueries:
        """Return the queries of a dataset, in its order."""
        fitted = fuser.record_.query_ids if fuser.is_fitted else frozenset()
        columns = dataset.queries.select("query_id", "references", "text", "targets").iter_rows()
        return cls(
            [
                {
                    "id": query_id,
                    "references": references,
                    "text": text,
                    "targets": [target for target in targets if target in index.ids],
                    "seen": query_id in fitted,
                }
                for query_id, references, text, targets in columns
                if all(reference in index.ids for reference in references)
            ]
        )

    def page(self, start: int, n: int, find: str) -> dict[str, Any]:
        """Return some of the queries whose id or text holds ``find``, and how many there are."""
        needle = find.casefold()
        found = [
            row
            for row in self.rows
            if needle in row["text"].casefold() or needle in row["id"].casefold()
        ]
        return {"total": len(found), "queries": found[start : start + n]}
