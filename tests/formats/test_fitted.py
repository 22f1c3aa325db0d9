"""The queries a fusion was fitted on go with its scores, whatever file these go through."""

import numpy as np
import pytest

from dafm_core.comparison.inspection import inspect_store
from dafm_core.errors import DatasetError, LeakageError
from dafm_core.evaluation.evaluate import evaluate, evaluate_providers
from dafm_core.formats.fitted import fitted_path, read_fitted
from dafm_core.formats.importing import import_scores
from dafm_core.formats.runs import write_run
from dafm_core.formats.submission import fuser_blocks, run_blocks
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.fusion.static import MeanFusion
from dafm_core.store.store import SimilarityStore

SUFFIXES = [".npy", ".parquet", ".trec"]


@pytest.fixture
def halves(make_problem):
    """Return (fitted rule, its training stack, a held-out stack)."""
    _, stack = make_problem(n_queries=40)
    train, test = stack.split(test_size=0.5, seed=0)
    return MeanFusion().fit(train), train, test


def write(path, blocks, stack):
    return write_run(
        path, blocks, query_ids=stack.query_ids, gallery_ids=stack.gallery_ids, depth=100
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_fused_training_queries_are_refused_after_any_file(tmp_path, halves, suffix):
    rule, train, _ = halves
    path = write(tmp_path / f"run{suffix}", fuser_blocks(rule, train), train)
    assert read_fitted(path) == set(train.query_ids)
    store = SimilarityStore.create(tmp_path / "store", train.dataset)
    import_scores(store, "fused", path)
    with pytest.raises(LeakageError, match=r"provider 'fused': .* 20 of 20 that it was"):
        evaluate_providers(store.stack())
    assert any("fused: in sample" in line for line in inspect_store(store).problems)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_held_out_queries_are_not(tmp_path, halves, suffix):
    rule, train, test = halves
    write(tmp_path / f"run{suffix}", fuser_blocks(rule, train), train)
    path = write(tmp_path / f"run{suffix}", fuser_blocks(rule, test), test)
    assert not fitted_path(path).exists()  # that of the earlier run is gone
    store = SimilarityStore.create(tmp_path / "store", test.dataset)
    import_scores(store, "fused", path)
    assert "fused" in evaluate_providers(store.stack())
    assert not inspect_store(store).problems


def test_a_run_in_memory_and_a_saved_fusion_carry_them(tmp_path, halves):
    rule, train, _ = halves
    path = write(tmp_path / "run.npy", run_blocks(rule.fuse(train)), train)
    assert read_fitted(path) == set(train.query_ids)
    save_fuser(rule, tmp_path / "rule")
    again = load_fuser(tmp_path / "rule")
    assert again.fuse(train).fitted_query_ids == set(train.query_ids)


def test_a_fusion_of_a_fusion_is_in_sample_too(tmp_path, halves, make_problem):
    rule, train, _ = halves
    path = write(tmp_path / "run.npy", fuser_blocks(rule, train), train)
    store = SimilarityStore.create(tmp_path / "store", train.dataset)
    import_scores(store, "fused", path)
    with store.writer("plain", passport={"source": "test"}, dtype="float32") as writer:
        for start, stop in writer.pending():
            writer.write(start, np.asarray(train.tile(start, stop)[:, 0]))
    plain_mean = MeanFusion(normalize="zscore")
    assert plain_mean.fuse(store.stack()).fitted_query_ids == set(train.query_ids)
    with pytest.raises(LeakageError):
        evaluate(plain_mean, store.stack())


def test_a_damaged_list_is_an_error_and_no_clean_bill(tmp_path):
    fitted_path(tmp_path / "run.trec").write_text("[")
    with pytest.raises(DatasetError, match=r"run\.trec\.fitted\.json"):
        read_fitted(tmp_path / "run.trec")
