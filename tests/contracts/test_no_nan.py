"""No NaN and no warning leaves a public function that takes scores, whatever finite cells, excluded
ones and unknown ones they hold; NaN in input is refused or is what design says: unknown.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.catalog import resolve
from dafm_core.core_plugin import FUSERS
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import DafmError
from dafm_core.ground import normalize
from dafm_core.ground.ids import Ids
from dafm_core.metrics.spec import parse_metrics
from dafm_core.metrics.truth import Truth
from dafm_core.store.stack import SimilarityStack
from tests.conftest import problem

HUGE = float(np.finfo(np.float32).max)
CELLS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-45, 1e-38, 1e30, HUGE, -HUGE, 0.1, 0.30000001])
ROWS = {
    name: getattr(normalize, name)
    for name in ("zscore_rows", "minmax_rows", "rank_rows", "unit_rank_rows", "identity_rows")
}

METRICS = ("recall@1", "recall@5", "rsubset@1", "map@5", "ndcg@5", "mrr", "precision@5")
RULES = [info for info in FUSERS if info.kind != "learned"]


def matrices(cells=CELLS):
    return st.integers(1, 6).flatmap(
        lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=1, max_size=4)
    )


@pytest.mark.parametrize("name", ROWS)
@given(rows=matrices(st.one_of(CELLS, st.just(-np.inf))))
def test_normalised_rows_are_numbers_or_excluded(name, rows):
    scores = np.array(rows, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = ROWS[name](scores)
    assert not np.isnan(out).any()
    np.testing.assert_array_equal(~np.isfinite(out), np.isneginf(scores))


@given(rows=matrices())
def test_column_statistics_are_numbers(rows):
    tile = np.array(rows, np.float32)[:, None]  # (B, 1, N)
    moments = normalize.column_moments([normalize.zscore_rows(tile[:, 0])[:, None]])
    made = normalize.ColumnStatistics.of_moments(moments, n_prior=1)
    for part in (made.mean, made.std, made.apply(np.clip(tile, -1e30, 1e30))):
        assert np.isfinite(part).all()


@given(rows=matrices(), n_excluded=st.integers(0, 2))
def test_metrics_are_shares(rows, n_excluded):
    scores = np.array(rows, np.float32)
    ids = [f"i{n}" for n in range(scores.shape[1])]
    queries = [
        {
            "query_id": f"q{n}",
            "reference": "r",
            "text": "t",
            "targets": ids[:2],
            "subset": ids,
            "excluded": ids[len(ids) - n_excluded :],
        }
        for n in range(len(scores))
    ]
    dataset = Dataset(protocol="p", gallery_ids=Ids(ids), queries=query_frame(queries, where="p"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = Truth.of(dataset).measure(scores, parse_metrics(METRICS))
    assert ((values >= 0) & (values <= 1)).all()


@pytest.mark.parametrize("info", RULES, ids=lambda info: info.name)
@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1.0, 1e20, 1e37])
def test_fused_scores_are_numbers_at_any_scale(info, scale):
    dataset, stack = problem(n_queries=12, n_gallery=6, noise=(1.0, 2.0))
    tile = stack.tile(0, dataset.n_queries)  # (B, K, N)
    rows = {name: tile[:, k].copy() for k, name in enumerate(stack.names)}
    for scores in rows.values():
        scores[np.isneginf(scores)] = 0
        scores *= np.float32(scale)
    rows[stack.names[0]][::2] = np.float32(scale)  # constant rows
    odd = SimilarityStack.from_matrices(rows, dataset)
    fuser = resolve(info.factory, where=info.name)()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fused = fuser.fit(odd).fuse(odd).scores
    excluded = np.zeros(fused.shape, bool)
    excluded[dataset.excluded.rows, dataset.excluded.values] = True
    assert np.isfinite(fused[~excluded]).all()


@pytest.mark.parametrize("cell", [np.nan, np.inf])
def test_what_is_no_score_is_refused(cell):
    dataset, stack = problem(n_queries=4, n_gallery=6, noise=(1.0,))
    rows = stack.tile(0, 4)[:, 0].copy()
    rows[1, 2] = cell
    with pytest.raises(DafmError, match=r"got (NaN|\+inf) for query"):
        SimilarityStack.from_matrices({"a": rows}, dataset)
    with pytest.raises(DafmError, match=r"NaN|inf"):
        Truth.of(dataset).measure(rows, parse_metrics(["recall@1"]))
