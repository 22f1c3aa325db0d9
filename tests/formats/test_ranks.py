"""Ranks and scores of one list: agreement, contradiction, and lists that have ranks only."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.errors import OptionError, SimilarityError
from dafm_core.formats.content import Request
from dafm_core.formats.json_lists import read_json
from dafm_core.formats.ranks import ranked_lists
from dafm_core.formats.readers import read

RIGHT = [("q0", "a", 1, 0.9), ("q0", "b", 2, 0.5), ("q1", "b", 1, 7.0), ("q1", "a", 2, -1.0)]


def run(path, lines):
    path.write_text("".join(f"{q}\tQ0\t{i}\t{rank}\t{s}\tme\n" for q, i, rank, s in lines))
    return path


def lists(path, **request):
    """Return each query's images, best first, and what decided."""
    content = read(path, Request(**request))
    frame = content.frame.sort("query_id", "score", descending=[False, True])
    by_query = frame.group_by("query_id", maintain_order=True).agg("image_id")
    return dict(by_query.iter_rows()), content.order


WANTED = {"q0": ["a", "b"], "q1": ["b", "a"]}


@pytest.mark.parametrize("score", ["0", "1.0", "-3e9"])
def test_where_scores_order_nothing_ranks_do(tmp_path, score):
    path = run(tmp_path / "r.trec", [(q, i, rank, score) for q, i, rank, _ in RIGHT])
    assert lists(path) == (WANTED, "rank")


def test_a_constant_of_each_query_orders_nothing_either(tmp_path):
    path = run(
        tmp_path / "r.trec", [(q, i, rank, len(q + "1" * (q == "q1"))) for q, i, rank, _ in RIGHT]
    )
    assert lists(path) == (WANTED, "rank")


@pytest.mark.parametrize("first", [0, 1])
def test_distances_as_scores_are_refused_with_both_readings(tmp_path, first):
    lines = [(q, i, rank - 1 + first, -s) for q, i, rank, s in RIGHT]
    path = run(tmp_path / "r.run", lines)
    with pytest.raises(SimilarityError, match="contradict scores for 2 of 2 queries") as raised:
        read(path, Request())
    for part in ("'a' by rank", "'b' by score", "--order rank", "--order score", "direction dist"):
        assert part in str(raised.value)
    assert lists(path, order="rank") == (WANTED, "rank")
    assert lists(path, distance=True) == (WANTED, "score")
    assert lists(path, order="score")[0] == {q: ids[::-1] for q, ids in WANTED.items()}


def test_similarities_called_distances_are_refused_too(tmp_path):
    with pytest.raises(SimilarityError, match="--direction similarity"):
        read(run(tmp_path / "r.run", RIGHT), Request(distance=True))


def test_one_query_that_contradicts_is_enough(tmp_path):
    lines = [*RIGHT[:2], ("q1", "b", 1, 0.1), ("q1", "a", 2, 0.2)]
    with pytest.raises(SimilarityError, match="for 1 of 2 queries: the best of query 'q1'"):
        read(run(tmp_path / "r.run", lines), Request())


@pytest.mark.parametrize("rank", ["1", "-", "0"])
def test_ranks_that_order_nothing_do_not_count(tmp_path, rank):
    path = run(tmp_path / "r.run", [(q, i, rank, s) for q, i, _, s in RIGHT])
    assert lists(path) == (WANTED, "score")


def test_equal_scores_at_different_ranks_are_no_contradiction(tmp_path):
    lines = [("q0", "a", 1, 1), ("q0", "b", 2, 1), ("q0", "c", 3, 0)]
    assert lists(run(tmp_path / "r.run", lines))[1] == "score"


def test_scores_need_not_be_numbers_where_ranks_decide(tmp_path):
    path = run(tmp_path / "r.run", [(q, i, rank, "-") for q, i, rank, _ in RIGHT])
    with pytest.raises(SimilarityError, match="line 1"):
        read(path, Request())
    assert lists(path, order="rank") == (WANTED, "rank")


def test_a_table_may_number_its_lines_or_have_ranks_only(tmp_path):
    frame = pl.DataFrame(RIGHT, schema=["query_id", "image_id", "rank", "score"], orient="row")
    frame = frame.sort("query_id", "image_id")
    path = tmp_path / "t.parquet"
    frame.with_columns(rank=pl.int_range(4)).write_parquet(path)
    assert lists(path) == (WANTED, "score")
    frame.drop("score").write_parquet(path)
    assert lists(path) == (WANTED, "rank")
    frame.with_columns(score=-pl.col("score")).write_parquet(path)
    with pytest.raises(SimilarityError, match="contradict"):
        read(path, Request())


def test_what_is_asked_for_must_be_there(tmp_path):
    (tmp_path / "n.json").write_text('{"q0": {"a": 1}}')
    with pytest.raises(SimilarityError, match="has no ranks to go by"):
        read(tmp_path / "n.json", Request(order="rank"))
    (tmp_path / "s.json").write_text('{"q0": ["a"]}')
    with pytest.raises(OptionError, match="holds ranks, best first"):
        read_json(tmp_path / "s.json", Request(distance=True))


@given(
    cells=st.lists(
        st.tuples(st.sampled_from("xyz"), st.integers(1, 4), st.integers(-2, 2)),
        min_size=1,
        max_size=12,
    )
)
def test_a_contradiction_is_a_pair_that_two_columns_order_differently(cells):
    frame = pl.DataFrame(
        [(q, str(i), float(rank), float(s)) for i, (q, rank, s) in enumerate(cells)],
        schema=["query_id", "image_id", "rank", "score"],
        orient="row",
    )
    wrong = any(p == q and r1 < r2 and s1 < s2 for p, r1, s1 in cells for q, r2, s2 in cells)
    try:
        result = ranked_lists("f", frame, Request())
    except SimilarityError:
        assert wrong
        return
    distinct = {q: len({s for p, _, s in cells if p == q}) for q, _, _ in cells}
    flat = max(distinct.values()) == 1
    assert flat or not wrong
    ranks = {q: len({r for p, r, _ in cells if p == q}) for q, _, _ in cells}
    expected = "rank" if flat and max(ranks.values()) > 1 else "score"
    assert result.order == expected
    column = -frame["rank"] if expected == "rank" else frame["score"]
    np.testing.assert_array_equal(result.frame["score"], column)
