"""A query bank: queries of one dataset against the gallery of another, without labels.

Column statistics of a gallery (how often a candidate is near any query, its hubness) may be
learned from training queries, never from the queries that are evaluated. A gallery that the
training queries were not asked of, such as that of a test split, needs their similarities against
it: that is a dataset of its own, and ``as_bank`` makes it.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from dafm_core.datasets.base import Dataset


def as_bank(queries_of: Dataset, gallery_of: Dataset, *, protocol: str) -> Dataset:
    """Return the queries of one dataset against the gallery of another.

    Targets and subsets are dropped: a bank is no benchmark. A reference that is in the new
    gallery is excluded for its query, whatever the protocols say: its similarity to itself
    says nothing about the gallery.

    Parameters
    ----------
    queries_of, gallery_of : Dataset
    protocol : str
        Name of the result, e.g. ``cirr-test1-bank-val``: gallery first, then the queries.

    Returns
    -------
    Dataset
        With the images of both, the metrics of ``gallery_of`` and the options of ``queries_of``.
    """
    known = pl.Series(gallery_of.gallery_ids)
    excluded = pl.col("references").list.set_intersection(known.implode())
    nothing = pl.lit([], dtype=pl.List(pl.String))
    queries = queries_of.queries.with_columns(
        targets=nothing,
        grades=pl.lit(None, dtype=pl.List(pl.Float64)),
        subset=nothing,
        excluded=excluded,
        candidates=pl.lit(None, dtype=pl.List(pl.String)),
        negatives=nothing,
    )
    return replace(
        queries_of,
        protocol=protocol,
        gallery_ids=gallery_of.gallery_ids,
        queries=queries,
        images={**gallery_of.images, **queries_of.images},
        metrics=gallery_of.metrics,
    )
