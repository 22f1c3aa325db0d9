"""Pair providers: a verifier's scores of a shortlist into the store, query by query.

What is asked about is decided in ``shortlists.py``. Each query's scores are on disk before the next
query is asked, so that a killed run, which may have cost hours, loses one query at most.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import Query
from dafm_core.contract.provider import PairProvider
from dafm_core.datasets.base import Dataset
from dafm_core.errors import OptionError, SimilarityError, StoreError
from dafm_core.ground.files import write_text
from dafm_core.ground.platform import peak_memory_bytes
from dafm_core.ground.progress import Progress, silent
from dafm_core.ground.sources import source_text
from dafm_core.scoring.boundary import named_errors
from dafm_core.scoring.broken import MissingPolicy, broken_images
from dafm_core.scoring.facts import scored_passport
from dafm_core.scoring.job import Executor, Scores, run_local
from dafm_core.scoring.shortlists import Candidates
from dafm_core.store.locks import writing
from dafm_core.store.shortlist import Shortlist
from dafm_core.store.store import ANSWERS, SimilarityStore
from dafm_core.store.writer import check_same


def score_pairs(
    dataset: Dataset,
    name: str,
    provider: PairProvider,
    *,
    store: str | Path,
    candidates: Candidates,
    options: Mapping[str, str] | None = None,
    on_missing: MissingPolicy = "error",
    overwrite: bool = False,
    executor: Executor = run_local,
    progress: Progress = silent,
) -> SimilarityStore:
    """Score a shortlist with a pair provider into a store; resume where an earlier run was killed.

    Parameters
    ----------
    candidates : Candidates
        Whom to ask about, for each query.
    on_missing : {"error", "skip"}
        What an image that is missing or broken does. ``skip``: nobody is asked about it, and a
        query whose reference it is has no candidates.
    dataset, name, provider, store, options, overwrite, executor, progress
        As for :func:`~dafm_core.scoring.score.score_provider`.

    Raises
    ------
    ProviderError
        If the provider raises; finished queries are kept.
    SimilarityError
        For a wrong number of scores, NaN or infinite ones; nothing of that query is kept.
    StoreError
        As for :meth:`SimilarityStore.writer`.
    """
    broken = broken_images(dataset, on_missing, progress)
    identity = scored_passport(dataset, name, provider, broken) | {
        "options": dict(options or {}),
        "kind": "shortlist",
        "unknown": "not-asked",
        "shortlist": candidates.described(dataset.gallery_ids),
    }
    identity = json.loads(json.dumps(identity))
    with SimilarityStore.filling(store, dataset) as opened, writing(opened.path, f"{name}.pairs"):
        opened.check_name(name)
        if name in opened.providers and not overwrite:
            check_same(opened.path, name, identity, opened.passport(name))
            (opened.path / name / ANSWERS).unlink(missing_ok=True)  # killed at the very end
            return opened
        log = _Log(opened.path / name / ANSWERS, identity, restart=overwrite)
        asked = _Asked(dataset, name, provider, candidates, broken)
        seconds = _ask(log, asked, executor, progress)
        columns = [asked.columns(row) for row in range(dataset.n_queries)]
        scores = [np.array(log.scores[query], np.float32) for query in dataset.query_ids]
        n_calls = sum(map(len, columns))
        opened.write_shortlist(
            name,
            Shortlist.of_lists(columns, scores, dataset.n_gallery),
            passport=identity,
            unknown="not-asked",
            overwrite=overwrite,
            cost={"calls": n_calls, "calls_per_query": round(n_calls / dataset.n_queries, 2)}
            | seconds,
        )
        log.path.unlink(missing_ok=True)
    return opened


def _ask(log: _Log, asked: _Asked, executor: Executor, progress: Progress) -> dict[str, float]:
    """Ask about every query that is not in the log; return what it took."""
    query_ids = asked.dataset.query_ids
    pending = [row for row, query in enumerate(query_ids) if query not in log.scores]
    started, n_calls = time.perf_counter(), 0
    progress("queries", len(log.scores), len(query_ids))
    for row, scores in executor(asked.score_block, [(row, row + 1) for row in pending]):
        n_calls += scores.size
        log.add(query_ids[row], scores[0])
        progress("queries", len(log.scores), len(query_ids))
    if not n_calls:
        return {}
    milliseconds = 1000 * (time.perf_counter() - started)
    return {
        "ms_per_call": round(milliseconds / n_calls, 4),
        "ms_per_query": round(milliseconds / len(pending), 4),
        "peak_memory_gb": round(peak_memory_bytes() / 2**30, 3),
    }


class _Asked:
    """A provider with the candidates that it is asked about; picklable, for an executor."""

    def __init__(
        self,
        dataset: Dataset,
        name: str,
        provider: PairProvider,
        candidates: Candidates,
        broken: frozenset[str],
    ) -> None:
        self.dataset = dataset
        self._name = name
        self._provider = provider
        self._candidates = candidates
        self._broken = broken

    def columns(self, row: int) -> NDArray[np.int64]:
        """Return the columns of one query's candidates whose images can be read."""
        columns = self._candidates.columns[row]
        if not self._broken:
            return columns
        if not self._broken.isdisjoint(r.id for r in self._query(row).references):
            return columns[:0]
        ids = self.dataset.gallery_ids
        return columns[[ids[column] not in self._broken for column in columns]]

    def score_block(self, block: tuple[int, int]) -> Scores:
        """Return the row of the one query of a block, and its candidates' scores, (1, M)."""
        row, stop = block
        assert stop == row + 1, "lists differ in length: a block is one query"
        return row, self._score(row)[None]

    def _score(self, row: int) -> NDArray[np.float32]:
        """Return the scores of one query's candidates, checked."""
        columns, query = self.columns(row), self._query(row)
        if not len(columns):
            return np.empty(0, np.float32)
        images = [self.dataset.image(self.dataset.gallery_ids[column]) for column in columns]
        where = f"query {query.id!r}"
        with named_errors(self._name, where):
            answers = self._provider.score_pairs([query], [images])
            n_answers = len(answers)
            scores = np.asarray(answers[0] if n_answers else [])
        if n_answers != 1 or scores.shape != (len(images),):
            raise SimilarityError(
                f"provider {self._name!r}: expected one array of {len(images)} scores for {where}, "
                f"got {n_answers} arrays, the first of shape {scores.shape}. One array per query, "
                "in the order of its candidates."
            )
        rounded = scores.astype(np.float32)
        if not np.isfinite(rounded).all():
            bad = int(np.argmin(np.isfinite(rounded)))
            raise SimilarityError(
                f"provider {self._name!r}: expected finite scores, got {rounded[bad]} for {where}, "
                f"image {images[bad].id!r}. Finished queries are kept: repair the model and repeat "
                "the command."
            )
        return rounded

    def _query(self, row: int) -> Query:
        return self.dataset.iter_queries(row, row + 1)[0]


class _Log:
    """The scores of finished queries, a line each, under a line that says what is scored."""

    def __init__(self, path: Path, identity: dict[str, Any], *, restart: bool) -> None:
        self.path = path
        self.scores: dict[str, list[float]] = {}
        path.parent.mkdir(exist_ok=True)
        lines = [] if restart else self._whole_lines()
        if lines and lines[0] != identity:
            keys = sorted(k for k in {*lines[0], *identity} if lines[0].get(k) != identity.get(k))
            raise StoreError(
                f"{path.parent}: an interrupted run had another {', '.join(keys)}. Repeat that "
                "command, or start again with --overwrite."
            )
        for line in lines[1:]:
            self.scores[line["query"]] = line["scores"]
        kept = lines or [dict(identity)]  # without a line that a kill cut short
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def add(self, query: str, scores: NDArray[np.float32]) -> None:
        """Put one query's scores on disk."""
        self.scores[query] = scores.tolist()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"query": query, "scores": self.scores[query]}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _whole_lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        lines: list[dict[str, Any]] = []
        for text in source_text(self.path, encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
        return lines


def require_shortlist(name: str, *, is_pair: bool, spec: str | None) -> None:
    """Raise OptionError where a pair provider has no shortlist, or another provider has one."""
    if is_pair and spec is None:
        raise OptionError(
            f"provider {name!r}: scores pairs, and so needs a shortlist. Add --shortlist union:50."
        )
    if not is_pair and spec is not None:
        raise OptionError(f"provider {name!r}: scores the whole gallery. Leave --shortlist out.")
