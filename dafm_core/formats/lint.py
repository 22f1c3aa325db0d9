"""What a test server demands of a file, checked before it is uploaded; which, ``Benchmark`` says.

All findings are returned, one line per kind, and nothing is repaired. Writing such files is
``submission.py``'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.benchmarks import Benchmark, ServerFile
from dafm_core.formats.json_lists import benchmark_of, load_json_object
from dafm_core.ground.ids import Ids


@dataclass(frozen=True, kw_only=True)
class Lint:
    """What was found in a file, one line per kind.

    Parameters
    ----------
    errors : tuple of str
        What a server rejects, or counts as wrong.
    warnings : tuple of str
        What a server takes, at the cost of places in the lists.
    """

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def lint_submission(path: str | Path, dataset: Dataset | None = None) -> Lint:
    """Return everything a test server would reject, or silently count against a file.

    Parameters
    ----------
    path : path
    dataset : Dataset, optional
        The split the file is for. Without it the keys of the file say which benchmark it is for,
        and queries, gallery and subsets are not checked.

    Raises
    ------
    SubmissionError
        If the file is missing or is no JSON object, or the protocol has no test server.
    """
    path = Path(path)
    content, repeated = load_json_object(path)
    found = lint_content(content, dataset, n_bytes=path.stat().st_size)
    twice = [f"key {key!r} stands twice" for key in repeated]
    return Lint(errors=(*twice, *found.errors), warnings=found.warnings)


def lint_content(content: Mapping[str, Any], dataset: Dataset | None, *, n_bytes: int) -> Lint:
    """Return the findings for a file's content; see :func:`lint_submission`."""
    benchmark = (
        benchmark_of(content) if dataset is None else Benchmark.with_server(dataset.protocol)
    )
    errors = []
    if n_bytes >= benchmark.max_bytes:
        errors.append(
            f"{n_bytes / 1e6:.1f} MB: the server takes less than {benchmark.max_bytes / 1e6:g} MB"
        )
    errors += _lint_header(content, benchmark)
    lists = {query: ids for query, ids in content.items() if query not in benchmark.header_keys}
    if dataset is not None:
        known = Ids(dataset.query_ids)
        errors += _finding("keys are no query of this split", [q for q in lists if q not in known])
        errors += _finding("queries are missing", [q for q in known if q not in lists])
    metric = content.get("metric")
    file = next((f for f in benchmark.files if f.metric == metric), benchmark.files[0])
    found = _lint_lists(lists, _pools(lists, dataset, file), benchmark, file)
    return Lint(errors=(*errors, *found.errors), warnings=found.warnings)


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


@dataclass(frozen=True)
class _Pool:
    """Which images one query's list may name; None where that is not known."""

    gallery: Collection[str] | None = None
    members: Collection[str] | None = None
    excluded: Collection[str] = ()

    def lengths(self, depth: int) -> range:
        """Return how long a list may be: shorter than the depth only where there are fewer."""
        if self.members is None:
            return range(depth, depth + 1)
        n_excluded = sum(image in self.members for image in set(self.excluded))
        return range(min(depth, len(self.members) - n_excluded), min(depth, len(self.members)) + 1)


def _pools(
    lists: Mapping[str, Any], dataset: Dataset | None, file: ServerFile
) -> Iterator[tuple[str, _Pool]]:
    """Yield what each query of the file may list; queries unknown to the dataset are left out."""
    if dataset is None:
        yield from ((query, _Pool()) for query in lists)
        return
    gallery = set(dataset.gallery_ids)
    columns = dataset.queries.select("query_id", "subset", "excluded", "candidates")
    for query, subset, excluded, candidates in columns.iter_rows():
        if query in lists:
            members = gallery if candidates is None else gallery & set(candidates)
            members = members & set(subset) if file.within_subset else members
            yield query, _Pool(gallery, members, excluded)


def _lint_lists(
    lists: Mapping[str, Any],
    pools: Iterator[tuple[str, _Pool]],
    benchmark: Benchmark,
    file: ServerFile,
) -> Lint:
    """Check every query's list; one line per kind of finding."""
    kind = benchmark.id_type
    wrong: dict[str, list[str]] = {}
    doubtful: dict[str, list[str]] = {}
    for query, pool in pools:
        ids = lists[query]
        if not isinstance(ids, list):
            wrong.setdefault("queries have no list", []).append(query)
            continue
        names = [benchmark.image_id(i) for i in ids]
        lengths = pool.lengths(file.depth)
        strangers = set(names) - set(pool.gallery) if pool.gallery is not None else ()
        others = set(names) - set(pool.members or ()) - set(strangers)
        problems = {
            f"lists hold ids that are no {kind.__name__}": not all(_is_of(kind, i) for i in ids),
            f"lists have not {lengths.start} ids": len(names) not in lengths,
            "lists name an image twice": len(set(names)) < len(names),
            "lists name an image that is not in the gallery": bool(strangers),
            f"lists name an image outside the query's {_pool_name(file)}": (
                pool.members is not None and bool(others)
            ),
        }
        for problem in (problem for problem, is_there in problems.items() if is_there):
            wrong.setdefault(problem, []).append(query)
        if not set(pool.excluded).isdisjoint(names):
            problem = "lists name an excluded image (the reference), which loses a place"
            doubtful.setdefault(problem, []).append(query)
    return Lint(errors=tuple(_findings(wrong)), warnings=tuple(_findings(doubtful)))


def _pool_name(file: ServerFile) -> str:
    return "subset" if file.within_subset else "candidates"


def _is_of(kind: type, value: Any) -> bool:
    """Whether a server that wants ids of a kind takes a value: it reads ``"7"`` as 7."""
    return type(value) is kind or (kind is int and type(value) is str and value.isdecimal())


def _findings(problems: Mapping[str, Sequence[str]]) -> Iterator[str]:
    return (line for problem, queries in problems.items() for line in _finding(problem, queries))


def _finding(problem: str, queries: Sequence[str]) -> list[str]:
    if not queries:
        return []
    shown = ", ".join(repr(query) for query in queries[:3]) + (", ..." if len(queries) > 3 else "")
    return [f"{len(queries)} {problem}: {shown}"]
