"""What a test server demands of a file, checked before it is uploaded; which, ``Benchmark`` says.

All findings are returned, one line per kind, and nothing is repaired. Writing such files is
``submission.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.benchmarks import Benchmark, ServerFile
from dafm_core.formats.json_lists import load_json_object
from dafm_core.ground.ids import Ids


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
    benchmark = Benchmark.with_server(dataset.protocol)
    findings = []
    if n_bytes >= benchmark.max_bytes:
        findings.append(
            f"{n_bytes / 1e6:.1f} MB: the server takes less than {benchmark.max_bytes / 1e6:g} MB"
        )
    findings += _lint_header(content, benchmark)
    lists = {query: ids for query, ids in content.items() if query not in benchmark.header_keys}
    known = Ids(dataset.query_ids)
    findings += _finding("keys are no query of this split", [q for q in lists if q not in known])
    findings += _finding("queries are missing", [q for q in known if q not in lists])
    metric = content.get("metric")
    file = next((f for f in benchmark.files if f.metric == metric), benchmark.files[0])
    return findings + _lint_lists(lists, dataset, benchmark, file)


def _lint_header(content: Mapping[str, Any], benchmark: Benchmark) -> list[str]:
    findings = [
        f"{key!r} is {content.get(key)!r}, not {value!r}"
        for key, value in benchmark.header.items()
        if content.get(key) != value
    ]
    metrics = benchmark.server_metrics
    if metrics and content.get("metric") not in metrics:
        expected = " or ".join(map(repr, metrics))
        findings.append(f"'metric' is {content.get('metric')!r}, not {expected}")
    return findings


def _lint_lists(
    lists: Mapping[str, Any], dataset: Dataset, benchmark: Benchmark, file: ServerFile
) -> list[str]:
    """Check every query's list; one line per kind of finding."""
    kind = benchmark.id_type
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
        pool = gallery & set(subset) if file.within_subset else gallery
        length = min(file.depth, len(pool) - sum(name in pool for name in set(excluded)))
        problems = {
            f"lists hold ids that are no {kind.__name__}": not all(_is_of(kind, i) for i in ids),
            f"lists have not {length} ids": len(names) != length,
            "lists name an image twice": len(set(names)) < len(names),
            "lists name an image that is not in the gallery": not gallery >= set(names),
            "lists name an excluded image (the reference)": not set(excluded).isdisjoint(names),
            "lists name an image outside the query's subset": not pool >= set(names) & gallery,
        }
        for problem in (problem for problem, is_there in problems.items() if is_there):
            bad.setdefault(problem, []).append(query)
    return [line for problem, queries in bad.items() for line in _finding(problem, queries)]


def _is_of(kind: type, value: Any) -> bool:
    """Whether a server that wants ids of a kind takes a value: it reads ``"7"`` as 7."""
    return type(value) is kind or (kind is int and type(value) is str and value.isdecimal())


def _finding(problem: str, queries: Sequence[str]) -> list[str]:
    if not queries:
        return []
    shown = ", ".join(repr(query) for query in queries[:3]) + (", ..." if len(queries) > 3 else "")
    return [f"{len(queries)} {problem}: {shown}"]
