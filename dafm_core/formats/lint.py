"""What the test servers of CIRR and CIRCO demand of a file, checked before it is uploaded.

All findings are returned, one line per kind, and nothing is repaired. Writing such files is
``submission.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dafm_core.datasets.base import Dataset
from dafm_core.errors import SubmissionError
from dafm_core.formats.lists import HEADER, load_json_object

MAX_BYTES: Final = 5_000_000
VERSION: Final = "rc2"
DEPTHS: Final[Mapping[tuple[str, str | None], int]] = {
    ("cirr", "recall"): 50,
    ("cirr", "recall_subset"): 3,
    ("circo", None): 50,
}
"""Length of each query's list by benchmark and metric, where there are as many candidates."""


def lint_submission(path: str | Path, dataset: Dataset) -> list[str]:
    """Return everything a test server would reject, or silently count against a file.

    Parameters
    ----------
    path : path
    dataset : Dataset
        The split the file is for.

    Returns
    -------
    list of str
        One line per kind of finding; empty where the file is fine.

    Raises
    ------
    SubmissionError
        If the file is missing or is no JSON object, or the protocol has no test server.
    """
    path = Path(path)
    content, repeated = load_json_object(path)
    findings = [f"key {key!r} stands twice" for key in repeated]
    return findings + lint_content(content, dataset, n_bytes=path.stat().st_size)


def lint_content(content: Mapping[str, Any], dataset: Dataset, *, n_bytes: int) -> list[str]:
    """Return the findings for a file's content; see :func:`lint_submission`."""
    benchmark = benchmark_of(dataset)
    findings = []
    if n_bytes >= MAX_BYTES:
        findings.append(
            f"{n_bytes / 1e6:.1f} MB: the server takes less than {MAX_BYTES / 1e6:g} MB"
        )
    metric: str | None = None
    header = HEADER if benchmark == "cirr" else ()
    if benchmark == "cirr":
        findings += _lint_header(content)
        metric = "recall_subset" if content.get("metric") == "recall_subset" else "recall"
    lists = {query: ids for query, ids in content.items() if query not in header}
    known = set(dataset.query_ids)
    unknown = [query for query in lists if query not in known]
    missing = [query for query in dataset.query_ids if query not in lists]
    findings += _finding("keys are no query of this split", unknown)
    findings += _finding("queries are missing", missing)
    return findings + _lint_lists(lists, dataset, benchmark, metric)


def benchmark_of(dataset: Dataset) -> str:
    """Return ``cirr`` or ``circo``; raise SubmissionError for a protocol without a server."""
    name = dataset.protocol.partition("-")[0]
    if name not in ("cirr", "circo"):
        raise SubmissionError(
            f"submit: {dataset.protocol} has no test server. Use a split of cirr or circo."
        )
    return name


def _lint_header(content: Mapping[str, Any]) -> list[str]:
    findings = []
    if content.get("version") != VERSION:
        findings.append(f"'version' is {content.get('version')!r}, not {VERSION!r}")
    if content.get("metric") not in ("recall", "recall_subset"):
        findings.append(f"'metric' is {content.get('metric')!r}, not 'recall' or 'recall_subset'")
    return findings


def _lint_lists(
    lists: Mapping[str, Any], dataset: Dataset, benchmark: str, metric: str | None
) -> list[str]:
    """Check every query's list; one line per kind of finding."""
    kind: type = str if benchmark == "cirr" else int
    depth = DEPTHS[benchmark, metric]
    gallery = set(dataset.gallery_ids)
    columns = dataset.queries.select("query_id", "subset", "excluded").iter_rows()
    known = {query: (subset, excluded) for query, subset, excluded in columns}
    bad: dict[str, list[str]] = {}
    for query, ids in lists.items():
        if query not in known:
            continue
        if not isinstance(ids, list):
            bad.setdefault("queries have no list", []).append(query)
            continue
        names = [str(i) for i in ids]
        subset, excluded = known[query]
        pool = gallery if metric != "recall_subset" else gallery & set(subset)
        length = min(depth, len(pool) - sum(name in pool for name in set(excluded)))
        problems = {
            f"lists hold ids that are no {kind.__name__}": any(type(i) is not kind for i in ids),
            f"lists have not {length} ids": len(names) != length,
            "lists name an image twice": len(set(names)) < len(names),
            "lists name an image that is not in the gallery": not gallery >= set(names),
            "lists name an excluded image (the reference)": not set(excluded).isdisjoint(names),
            "lists name an image outside the query's subset": not pool >= set(names) & gallery,
        }
        for problem in (problem for problem, is_there in problems.items() if is_there):
            bad.setdefault(problem, []).append(query)
    return [line for problem, queries in bad.items() for line in _finding(problem, queries)]


def _finding(problem: str, queries: Sequence[str]) -> list[str]:
    if not queries:
        return []
    shown = ", ".join(repr(query) for query in queries[:3]) + (", ..." if len(queries) > 3 else "")
    return [f"{len(queries)} {problem}: {shown}"]
