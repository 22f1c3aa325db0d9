"""Lists of a file become shortlists: small, honest, and equal to the matrix where they are full."""

import json

import numpy as np
import pytest

from dafm_core.comparison.compare import compare
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.evaluation.design import Folds
from dafm_core.evaluation.evaluate import evaluate_providers
from dafm_core.formats.importing import import_scores
from dafm_core.formats.lists import candidates_of_run
from dafm_core.formats.submission import undecided_lists
from dafm_core.fusion.static import MeanFusion
from dafm_core.store.shortlist import Shortlist
from dafm_core.store.store import SimilarityStore


def trec(path, dataset, scores, depth):
    lines = []
    for query, row in zip(dataset.query_ids, scores, strict=True):
        for rank, column in enumerate(np.argsort(-row, kind="stable")[:depth], 1):
            image = dataset.gallery_ids[column]
            lines.append(f"{query} Q0 {image} {rank} {float(row[column])!r} me\n")
    path.write_text("".join(lines))
    return path


def test_a_circo_file_of_50_among_120000_stays_under_a_megabyte(tmp_path):
    rng = np.random.default_rng(0)
    gallery = [str(i) for i in np.sort(rng.choice(581_929, 120_000, replace=False))]
    rows = [
        {
            "query_id": str(i),
            "reference": gallery[i],
            "text": "",
            "group": str(i),
            "targets": [gallery[i + 1]],
        }
        for i in range(220)
    ]
    dataset = Dataset(
        protocol="circo-val", gallery_ids=tuple(gallery), queries=query_frame(rows, where="made up")
    )
    lists = {str(i): [int(gallery[c]) for c in rng.choice(120_000, 50, replace=False)]
             for i in range(220)}  # fmt: skip
    path = tmp_path / "circo.json"
    path.write_text(json.dumps(lists))
    store = SimilarityStore.create(tmp_path / "store", dataset)
    import_scores(store, "m", path)
    assert store.passport("m")["truncated_at"] == 50
    files = [file for file in (tmp_path / "store").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 1_000_000
    stack = store.stack()
    tile = stack.tile(7, 8)[0, 0]
    assert np.count_nonzero(np.isfinite(tile)) == 50
    best = [dataset.gallery_ids[c] for c in np.argsort(-np.nan_to_num(tile, nan=-np.inf))[:50]]
    assert best == [str(i) for i in lists["7"]]
    values = evaluate_providers(stack, metrics=["map@10", "map@50", "recall@100"])["m"].to_json()
    assert values["metrics"]["map@50"] is not None
    assert values["metrics"]["recall@100"] is None


def test_the_same_scores_as_matrix_as_full_run_and_as_shortlist_compare_alike(
    tmp_path, make_problem
):
    dataset, stack = make_problem(n_queries=40, n_gallery=25)
    other, scores = np.asarray(stack.matrices[1]), np.asarray(stack.matrices[0])
    np.save(tmp_path / "other.npy", other)
    np.save(tmp_path / "m.npy", scores)
    trec(tmp_path / "m.trec", dataset, scores, dataset.n_gallery)
    results = []
    for kind in ("m.npy", "m.trec", "below", "not-asked"):
        store = SimilarityStore.create(tmp_path / f"store-{kind}", dataset)
        import_scores(store, "other", tmp_path / "other.npy")
        if kind.startswith("m."):
            import_scores(store, "m", tmp_path / kind)
        else:
            columns = [np.arange(dataset.n_gallery)] * dataset.n_queries
            listed = Shortlist.of_lists(columns, list(scores), dataset.n_gallery)
            store.write_shortlist("m", listed, passport={"source": "imported"}, unknown=kind)
        fusers = ["best-single", "mean", "voting-rrf", "weighted", "logistic"]
        comparison = compare(store.stack(), fusers, design=Folds(4, seed=0), n_resamples=100)
        result = comparison.to_json()
        del result["provenance"]  # names the passports, which say how the rows are stored
        results.append(result)
    for result in results[1:]:
        assert result == results[0]


@pytest.fixture
def lists(tmp_path, make_problem):
    """A store of one provider with lists of four."""
    dataset, stack = make_problem(n_queries=40, n_gallery=25)
    scores = np.asarray(stack.matrices[0]).copy()
    scores[dataset.excluded.rows, dataset.excluded.values] = -9
    store = SimilarityStore.create(tmp_path / "store", dataset)
    import_scores(store, "m", trec(tmp_path / "m.trec", dataset, scores, 4))
    return store


def test_what_lists_do_not_decide_is_null_and_says_so(lists):
    comparison = compare(lists.stack(), {"mean": MeanFusion()}, n_resamples=50)
    result = comparison.to_json()
    text = json.dumps(result, allow_nan=False)
    assert json.loads(text) == result
    for row in result["rows"]:
        assert row["metrics"]["recall@5"] is None
        assert row["metrics"]["recall@1"]["value"] > 0
        assert 0 < row["undecided"]["recall@5"] < 1
    assert result["averaged"] == ["recall@1", "rsubset@1"]  # every list has a subset member
    assert result["oracle"]["metrics"]["recall@5"] is None
    assert "undecided" in str(comparison)
    assert any("left out of differences" in line for line in comparison.undecided)


def test_a_submission_that_no_provider_decides_is_found(lists):
    stack = lists.stack()
    assert undecided_lists(MeanFusion(), stack, depth=4) == 0
    assert undecided_lists(MeanFusion(), stack, depth=5) == stack.n_queries
    assert undecided_lists(MeanFusion(), stack, depth=3, within_subset=True) > 0


def test_a_run_is_a_shortlist_to_score(tmp_path, lists):
    dataset = lists.dataset
    candidates = candidates_of_run(tmp_path / "m.trec", dataset)
    tile = lists.stack().tile(0, dataset.n_queries)[:, 0]
    for row, columns in zip(tile, candidates.columns, strict=True):
        known = np.where(np.isnan(row), -np.inf, row)
        assert columns.tolist() == np.argsort(-known, kind="stable")[:4].tolist()
    assert candidates.facts["from"] == "run"
    assert candidates.facts["file"] == "m.trec"
