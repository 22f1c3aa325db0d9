"""Providers asked about queries; a query that breaks a model costs only itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import Query
from dafm_core.errors import DafmError, ProviderError
from dafm_core.ground.printable import first_line
from dafm_core.search.live import LiveProvider
from dafm_core.search.requests import Request

logger = logging.getLogger(__name__)

Question: TypeAlias = Callable[
    [LiveProvider, Sequence[Query], Sequence[Mapping[str, NDArray[Any]]]], NDArray[np.float32]
]
"""Asks a provider about queries and their vectors; an array with a row for each."""


def rows_of(
    provider: LiveProvider,
    queries: Sequence[Query],
    vectors: Sequence[Mapping[str, NDArray[Any]]],
) -> NDArray[np.float32]:
    """Return a provider's scores of every image, (B, N)."""
    return provider.rows(provider.encode(queries, vectors))


def vectors_of(
    provider: LiveProvider,
    queries: Sequence[Query],
    vectors: Sequence[Mapping[str, NDArray[Any]]],
) -> NDArray[np.float32]:
    """Return the queries' features under a provider of inner products, (B, D)."""
    return np.asarray(provider.encode(queries, vectors)).astype(np.float32, copy=False)


def ask_all(
    live: Mapping[str, LiveProvider],
    requests: Sequence[Request],
    queries: Sequence[Query],
    question: Question,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[int, str]]]:
    """Return the answers of all providers but pair providers, and why one has none for a query.

    Returns
    -------
    dict of str to ndarray of shape (n_queries, ...), float32
        Zeros where there is no answer.
    dict of str to dict of int to str
        Reasons by query.
    """
    found: dict[str, NDArray[np.float32]] = {}
    failed: dict[str, dict[int, str]] = {}
    for name, provider in live.items():
        if provider.is_pair:
            continue
        failed[name] = {i: why for i, q in enumerate(queries) if (why := provider.refuse(q))}
        asked = [i for i in range(len(queries)) if i not in failed[name]]

        def ask(some: Sequence[int], provider: LiveProvider = provider) -> NDArray[np.float32]:
            return question(
                provider, [queries[i] for i in some], [requests[i].vectors for i in some]
            )

        answers = _asked(ask, asked, name, failed[name])
        if answers:
            shape = (len(queries), *next(iter(answers.values())).shape)
            found[name] = np.zeros(shape, np.float32)
            found[name][list(answers)] = np.stack(list(answers.values()))
    return found, failed


def by_providers(
    n: int, found: Mapping[str, NDArray[np.float32]], failed: Mapping[str, Mapping[int, str]]
) -> dict[tuple[str, ...], list[int]]:
    """Return queries by the providers that can answer them.

    Raises
    ------
    ProviderError
        If nobody can answer one.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for i in range(n):
        names = tuple(name for name in sorted(found) if i not in failed[name])
        if not names:
            said = "; ".join(
                f"{name}: {why}" for name, why in sorted(reasons_of(failed, i).items())
            )
            raise ProviderError(
                f"query: expected a provider that can answer it, got none ({said})."
            )
        groups.setdefault(names, []).append(i)
    return groups


def reasons_of(failed: Mapping[str, Mapping[int, str]], i: int) -> dict[str, str]:
    """Return why providers have no answer to one query, by name."""
    return {name: why[i] for name, why in failed.items() if i in why}


def reason(error: BaseException) -> str:
    """Return why a provider is left out, in one line."""
    if isinstance(error, DafmError):
        return str(error)
    words = first_line(error)
    return f"raised {type(error).__name__}: {words}"


def _asked(
    ask: Callable[[Sequence[int]], NDArray[np.float32]],
    asked: Sequence[int],
    name: str,
    failed: dict[int, str],
) -> dict[int, NDArray[np.float32]]:
    """Ask about all at once, or one by one where that fails."""
    if not asked:
        return {}
    try:
        return dict(zip(asked, ask(asked), strict=True))
    except (Exception, SystemExit) as error:  # a model may raise anything
        if len(asked) > 1:
            return {i: row for one in asked for i, row in _asked(ask, [one], name, failed).items()}
        failed[asked[0]] = reason(error)
        logger.warning("provider %r: left out: %s", name, failed[asked[0]])
        return {}
