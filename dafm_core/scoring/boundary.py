"""What is checked where a provider is called: what it is asked, what it raises, what comes back.

Checked here, at the boundary, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, get_args

import numpy as np

from dafm_core.contract.contained import contained
from dafm_core.contract.descriptions import References
from dafm_core.contract.provider import Provider, is_pair
from dafm_core.datasets.base import Dataset
from dafm_core.errors import DafmError, DatasetError, ProviderError, SimilarityError
from dafm_core.ground.printable import first_line

announcing: ContextVar[Callable[[str], object]] = ContextVar("announcing", default=len)
"""Who is told which provider is called, and nothing once it has returned; by default nobody."""


def require_whole_gallery(name: str, provider: Provider) -> None:
    """Raise ProviderError for a pair provider, which cannot score a whole gallery."""
    if is_pair(provider):
        raise ProviderError(
            f"provider {name!r}: scores pairs, and so needs a shortlist. Use score_pairs of "
            "dafm_core.scoring.pairs, or dafm score --shortlist union:50."
        )


def check_references(dataset: Dataset, name: str, references: References) -> None:
    """Raise DatasetError where a provider cannot take a query; names the first, and counts all.

    A provider of ``"any"`` number of references, or of the text alone (``"none"``), takes every
    query.
    """
    if references not in get_args(References):
        raise ProviderError(
            f"provider {name!r}: expected references to be {' or '.join(get_args(References))}, "
            f"got {references!r}. Correct its description."
        )
    counts = dataset.queries["references"].list.len().to_numpy()
    other = np.flatnonzero(counts != 1)
    if references != "one" or not len(other):
        return
    raise DatasetError(
        f"provider {name!r}: expected exactly one reference image per query, got "
        f"{counts[other[0]]} for query {dataset.query_ids[other[0]]!r} ({len(other)} of "
        f"{dataset.n_queries} queries have none or several). Leave them out of the dataset, or "
        "use a provider whose description says references='any'."
    )


@contextmanager
def announced(words: str) -> Iterator[None]:
    """Tell who is called, and that the call is over."""
    tell = announcing.get()
    tell(words)
    try:
        yield
    finally:
        tell("")


@contextmanager
def named_errors(name: str, where: str) -> Iterator[None]:
    """Turn whatever a provider raises into a ProviderError that names it, and says how to go on."""
    try:
        with announced(f"provider {name!r} at {where}"), contained():
            yield
    except DafmError:
        raise
    except Exception as error:
        cause = first_line(error)
        raise ProviderError(
            f"provider {name!r}: raised {type(error).__name__}: {cause} at {where}. "
            "Finished blocks are kept: repair it and repeat the command to resume."
        ) from error


def check_features(features: Any, n_items: int, name: str, where: str) -> None:
    """Raise SimilarityError unless there is one row of finite numbers per item."""
    shape = getattr(features, "shape", None)
    if shape is None or len(shape) < 1 or shape[0] != n_items:
        raise SimilarityError(
            f"provider {name!r}: expected {n_items} feature rows for {where}, got shape {shape}."
        )
    if not np.isfinite(features).all():
        raise SimilarityError(
            f"provider {name!r}: expected finite features for {where}, got NaN or infinity."
        )
