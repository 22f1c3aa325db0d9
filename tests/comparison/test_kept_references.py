"""References that stay in the ranking: counted as by a loop, said where they lead."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.comparison.kept_references import KeptReferences, kept_references
from dafm_core.store.stack import SimilarityStack


def stacked(make_problem, *, keeps):
    """A stack whose references stay in every other query, and lead there for the first model."""
    dataset, stack = make_problem(n_queries=40)
    queries = dataset.queries.to_dicts()
    for row in queries[::2]:
        row["excluded"] = [] if keeps else row["references"]
    for row in queries[1::2]:
        row["excluded"] = row["references"]
    schema = dataset.queries.schema
    dataset = replace(dataset, queries=pl.DataFrame(queries, schema=schema))
    tile = np.where(np.isinf(stack.tile(0, 40)), 0, stack.tile(0, 40))  # (Q, K, N)
    matrices = {name: tile[:, place].copy() for place, name in enumerate(stack.names)}
    leader, *_ = matrices
    for number in range(0, 40, 4):
        for image in queries[number]["references"]:
            matrices[leader][number, dataset.gallery_ids.get(image)] = 1e3
    for number, row in enumerate(queries):
        for image in row["excluded"]:
            for scores in matrices.values():
                scores[number, dataset.gallery_ids.get(image)] = -np.inf
    return SimilarityStack.from_matrices(matrices, dataset)


def test_kept_references_are_counted_as_by_a_loop(make_problem):
    stack = stacked(make_problem, keeps=True)
    dataset, first, n_kept = stack.dataset, {name: [] for name in stack.names}, 0
    for number, row in enumerate(dataset.queries.iter_rows(named=True)):
        ranked = set(row["references"]) - set(row["excluded"]) - set(row["targets"])
        n_kept += bool(ranked)
        if ranked:
            for name, scores in zip(stack.names, stack.tile(number, number + 1)[0], strict=True):
                led = [scores[dataset.gallery_ids.get(i)] >= scores.max() for i in ranked]
                first[name].append(any(led))
    found = kept_references(stack)
    assert found.share == n_kept / 40 > 0
    assert found.first == pytest.approx({name: np.mean(led) for name, led in first.items()})
    assert found.first[stack.names[0]] >= 0.5


def test_nothing_is_said_where_references_leave(make_problem):
    found = kept_references(stacked(make_problem, keeps=False))
    assert (found.share, found.words()) == (0.0, "")


def test_what_to_do_is_said_where_a_model_puts_them_first():
    few, many = KeptReferences(1.0, {"a": 0.0, "b": 0.1}), KeptReferences(0.5, {"a": 0.9, "b": 0.1})
    assert few.words(str.upper).endswith(
        "in 100 % of the queries; B puts it first in 10 % of them."
    )
    assert "a puts it first in 90 % of them. If it is no answer, exclude it" in many.words()
