"""Ranked lists in JSON: files for test servers, and scores by query and image.

``{query: {image: score}}`` is what BEIR, pytrec_eval and ranx write; a file for a test server has
``{query: [image, ...]}``, best first, and perhaps a header. What a server demands of its files is
checked in ``lint.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from dafm_core.datasets.benchmarks import BENCHMARKS, SERVERS, Benchmark, ServerFile
from dafm_core.errors import OptionError, SimilarityError, SubmissionError, closest
from dafm_core.formats.columns import table_content
from dafm_core.formats.content import Content, RankedLists, Request
from dafm_core.formats.ranks import ranked_lists
from dafm_core.ground.sources import source_json

HEADER: Final = frozenset().union(*(BENCHMARKS[name].header_keys for name in SERVERS))
"""Keys of any benchmark's files that are not queries."""


@dataclass(frozen=True, kw_only=True)
class SubmissionLists:
    """The content of a file that a test server takes.

    Parameters
    ----------
    path : Path
    benchmark : Benchmark
    file : ServerFile
        Which of the benchmark's files it is.
    lists : mapping of str to sequence of str
        Image ids of each query, best first.
    """

    path: Path
    benchmark: Benchmark
    file: ServerFile
    lists: Mapping[str, Sequence[str]] = field(repr=False)

    def frame(self) -> pl.DataFrame:
        """Return one row per listed candidate: query_id, image_id, and minus its rank as score."""
        lengths = np.array([len(ids) for ids in self.lists.values()], dtype=np.int64)
        queries = np.repeat(np.arange(len(lengths)), lengths)
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        return pl.DataFrame(
            {
                "query_id": pl.Series(list(self.lists), dtype=pl.String).gather(queries),
                "image_id": pl.Series(
                    [i for ids in self.lists.values() for i in ids], dtype=pl.String
                ),
                "score": -(np.arange(lengths.sum()) - starts + 1.0),
            }
        )


def read_submission(path: str | Path) -> SubmissionLists:
    """Read a file made for a test server; which benchmark's it is, its keys say.

    Raises
    ------
    SubmissionError
        If it is missing, not JSON, or a query's value is no list of image ids. Whether a server
        would accept it is another question: see ``lint.lint_submission``.
    """
    path = Path(path)
    content, repeated = load_json_object(path)
    if repeated:
        raise SubmissionError(f"{path}: query {repeated[0]!r} stands twice.")
    return submission_lists(path, content)


def submission_lists(path: Path, content: Mapping[str, Any]) -> SubmissionLists:
    """Return the lists in a submission file's content; see :func:`read_submission`."""
    benchmark = benchmark_of(content)
    metric = content.get("metric")
    if metric is not None and metric not in benchmark.server_metrics:
        raise SubmissionError(
            f"{path}: metric {metric!r}{closest(str(metric), benchmark.server_metrics)}"
        )
    lists: dict[str, list[str]] = {}
    for query, ids in content.items():
        if query in HEADER:
            continue
        if not isinstance(ids, list) or not all(type(i) in (str, int) for i in ids):
            raise SubmissionError(
                f"{path}: query {query!r}: expected a list of image ids, got {str(ids)[:60]}."
            )
        lists[query] = [benchmark.image_id(i) for i in ids]
    return SubmissionLists(path=path, benchmark=benchmark, file=benchmark.file(metric), lists=lists)


def benchmark_of(content: Mapping[str, Any]) -> Benchmark:
    """Return the benchmark whose files have the keys of this one beside the queries."""
    with_metric = "metric" in content and content["metric"] is not None
    known = (BENCHMARKS[name] for name in SERVERS)
    return next(b for b in known if bool(b.server_metrics) == with_metric)


def read_json(path: Path, request: Request) -> Content:
    """Return the lists of a JSON file, whichever of its forms it has.

    Raises
    ------
    SubmissionError
        If the file is no JSON, has a query twice, or ranks subsets only.
    SimilarityError
        If it has none of the forms.
    OptionError
        For an unknown key, or options that do not go with a list of ranks.
    """
    content, repeated = load_json(path)
    if repeated:
        raise SubmissionError(f"{path}: key {repeated[0]!r} stands twice. Keep one of them.")
    if isinstance(content, list) and content and all(isinstance(c, Mapping) for c in content):
        return table_content(path, pl.DataFrame(content, infer_schema_length=None), request)
    if not isinstance(content, dict):
        raise SubmissionError(
            f"{path}: expected a JSON object of queries, got {type(content).__name__}."
        )
    content = _entry(path, content, request)
    values = [value for query, value in content.items() if query not in HEADER]
    if values and all(isinstance(value, Mapping) or _is_scored_list(value) for value in values):
        return ranked_lists(path, _scored_frame(path, content), request)
    lists = submission_lists(path, content)
    if lists.file.within_subset:
        raise SubmissionError(
            f"{path}: ranks each query's subset only, which says nothing of the gallery. "
            f"Import the file with metric {lists.benchmark.files[0].metric!r}."
        )
    if request.distance:
        raise OptionError(f"{path}: holds ranks, best first; leave direction out.")
    return RankedLists(path=path, frame=lists.frame(), order="rank")


def _entry(path: Path, content: dict[str, Any], request: Request) -> dict[str, Any]:
    """Return the object of queries: the one named, or the only one inside outer objects."""
    for key in request.key.split(".") if request.key else ():
        if not isinstance(content.get(key), dict):
            raise OptionError(f"{path}: no object {key!r}{closest(key, content)}")
        content = content[key]
    while True:
        objects = {k: v for k, v in content.items() if _depth(v) > 1}
        if not objects:
            return content
        if len(objects) > 1:
            raise OptionError(
                f"{path}: expected scores by query and image, got several such objects: "
                f"{', '.join(list(objects)[:4])}. Name one with {request.key_option}."
            )
        (content,) = objects.values()


def _depth(value: Any) -> int:
    """Return how many objects stand inside each other, following the first of each."""
    if not isinstance(value, Mapping):
        return 0
    return 1 + max((_depth(inner) for inner in list(value.values())[:1]), default=0)


def _is_scored_list(value: Any) -> bool:
    """Whether a value is ``[[image, score], ...]``."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(v, list) and len(v) == 2 and _is_number(v[1]) for v in value)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scored_frame(path: Path, content: Mapping[str, Any]) -> pl.DataFrame:
    cells = list(_cells(path, content))
    schema = {"query_id": pl.String, "image_id": pl.String, "score": pl.Float64}
    return pl.DataFrame(cells, schema=schema, orient="row")


def _cells(path: Path, content: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    for query, images in content.items():
        if query in HEADER and not isinstance(images, Mapping | list):
            continue
        for image, score in images.items() if isinstance(images, Mapping) else images:
            if not _is_number(score):
                raise SimilarityError(
                    f"{path}: query {query!r}, image {image!r}: expected a number, got "
                    f"{str(score)[:40]!r}."
                )
            yield query, str(image), float(score)


def load_json_object(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the object a JSON file holds, and the keys that stand twice in it."""
    content, repeated = load_json(path)
    if not isinstance(content, dict):
        raise SubmissionError(
            f"{path}: expected a JSON object of queries, got {type(content).__name__}."
        )
    return content, repeated


def load_json(path: Path) -> tuple[Any, list[str]]:
    """Return what a JSON file holds, unpacked where its name ends in ``.gz``; and repeated keys."""
    repeated: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated.extend(sorted({key for key in content if keys.count(key) > 1}))
        return content

    try:
        content = source_json(path, collect)
    except FileNotFoundError:
        raise SubmissionError(f"{path}: no such file. Check the path.") from None
    except (OSError, ValueError) as error:
        raise SubmissionError(f"{path}: expected JSON ({error}).") from None
    return content, repeated
