"""What it shares with other fusions over channels: banks, lost providers, neighbours, live queries.

The same laws are tested for core's own fusions in core.
"""

from dataclasses import replace

import numpy as np
import pytest
from dafm_plugin_lambdamart import plugin
from dafm_plugin_lambdamart.fuser import LambdaMartFusion, _features, _load

from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import AlignmentError, LeakageError
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.view import ChannelReader
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.ground.ids import Ids
from dafm_core.scoring.neighbours import nearest_neighbours
from dafm_core.testing import FuserSubject

FRESH = LambdaMartFusion(n_trees=20, min_leaf=5)
INFOS = plugin.dafm_fusers()


@pytest.fixture(scope="module")
def parts():
    """Training queries, queries to fuse, and queries for a bank of their own."""
    stack = FuserSubject(FRESH, n_queries=160).stack
    features = np.random.default_rng(0).normal(size=(stack.n_gallery, 4)).astype(np.float32)
    neighbours = {"good": nearest_neighbours(features)}
    stack = replace(stack, gallery=replace(stack.gallery, neighbours=neighbours))
    fit, rest = stack.split(test_size=0.5, seed=0)
    return fit, *rest.split(seed=0)


@pytest.fixture(scope="module")
def fitted(parts):
    return FRESH.clone().fit(parts[0])


def without_neighbours(stack):
    return replace(stack, gallery=replace(stack.gallery, neighbours={}))


def elsewhere(stack):
    """Return the same scores, of other images."""
    rows = [
        row | {name: [f"new-{i}" for i in row[name]] for name in ("targets", "excluded")}
        for row in stack.dataset.queries.to_dicts()
    ]
    ids = Ids(f"new-{i}" for i in stack.gallery_ids)
    dataset = replace(stack.dataset, gallery_ids=ids, queries=query_frame(rows, where="made-up"))
    return replace(stack, dataset=dataset, gallery=replace(stack.gallery, ids=ids))


def by_trees(fitted, stack, bank):
    """Return the trees' scores of channels; a channel that is not known is zero."""
    layout = Layout(fitted.families_, fitted.record_.providers)
    tile = stack.tile(0, stack.n_queries)
    channels = ChannelReader.of(stack.gallery, layout, bank).read(tile).channels()
    features, start = _features(channels)
    trees = _load(fitted.learned_.notes["model_text"])
    scores = start + trees.predict(features.reshape(-1, features.shape[2]), raw_score=True).reshape(
        start.shape
    )
    return np.where(np.isfinite(tile[:, 0]), scores, -np.inf)


def saved(fuser, tmp_path):
    return load_fuser(save_fuser(fuser, tmp_path / "model", infos=INFOS), infos=INFOS)


def test_a_live_query_is_scored_as_it_is_in_a_stack(fitted, parts):
    _, test, _ = parts
    expected, score = fitted.fuse(test).scores, fitted.scorer(test.gallery)
    for row in (0, 5, test.n_queries - 1):
        np.testing.assert_allclose(score(test.tile(row, row + 1))[0], expected[row], atol=1e-6)


def test_a_saved_fuser_gives_the_same_bits_and_remembers_the_fit(fitted, parts, tmp_path):
    _, test, _ = parts
    again = saved(fitted, tmp_path)
    np.testing.assert_array_equal(again.fuse(test).scores, fitted.fuse(test).scores)
    assert again.record_ == fitted.record_
    assert again.params() == fitted.params()
    suffixes = sorted(path.suffix for path in (tmp_path / "model").iterdir())
    assert suffixes == [".json", ".safetensors"]


def test_a_gallery_the_bank_does_not_know_is_fused_without_a_bank(fitted, parts, caplog):
    other = elsewhere(parts[1])
    scores = fitted.fuse(other).scores
    assert "LambdaMartFusion: the bank knows another gallery" in caplog.text
    np.testing.assert_allclose(scores, by_trees(fitted, other, None), atol=1e-5)
    targets = other.dataset.targets
    own = scores[targets.rows, targets.values][:, None]
    assert (scores > own).sum(axis=1).mean() < 0.25 * other.n_gallery


def test_another_bank_is_what_a_new_gallery_needs(fitted, parts, tmp_path, caplog):
    fit, test, other = parts
    there, expected = elsewhere(test), fitted.fuse(test).scores
    same = fitted.with_bank(elsewhere(fit)).fuse(there).scores
    np.testing.assert_allclose(same, expected, atol=1e-4)
    moved = fitted.with_bank(elsewhere(other))
    assert not np.allclose(moved.fuse(there).scores, expected, atol=0.01)
    assert caplog.text == ""
    np.testing.assert_array_equal(
        saved(moved, tmp_path).fuse(there).scores, moved.fuse(there).scores
    )
    with pytest.raises(AlignmentError, match="no scores of gallery image"):
        moved.fuse(test)
    with pytest.raises(LeakageError, match="holds 40 of the queries to fuse"):
        moved.fuse(elsewhere(other))


def test_a_bank_of_other_queries_is_theirs_alone(parts, fitted):
    fit, test, other = parts
    banked = fitted.clone().fit(fit, bank=other)
    expected = QueryBank.of(other).statistics.mean
    np.testing.assert_array_equal(banked.bank_.statistics.mean, expected)
    assert not np.allclose(banked.fuse(test).scores, fitted.fuse(test).scores, atol=0.01)


@pytest.mark.parametrize("lost", ["fair", "tied"])
def test_a_lost_provider_is_done_without(fitted, parts, lost, caplog):
    _, test, _ = parts
    fewer = test.select([name for name in test.names if name != lost])
    scores = fitted.fuse(fewer).scores
    assert f"LambdaMartFusion: fusing without {lost}, which it was fitted on" in caplog.text
    np.testing.assert_allclose(scores, by_trees(fitted, fewer, fitted.bank_), atol=1e-5)


def test_to_lose_a_provider_is_as_if_it_scored_all_candidates_alike(fitted, parts):
    _, test, _ = parts
    silent = replace(test, matrices=(*test.matrices[:2], np.zeros_like(test.matrices[2])))
    fewer = fitted.fuse(test.select(["fair", "good"])).scores
    np.testing.assert_allclose(fitted.fuse(silent).scores, fewer, atol=1e-5)


def test_without_neighbours_it_is_the_fusion_that_never_had_any(fitted, parts, tmp_path, caplog):
    fit, test, _ = parts
    bare = without_neighbours(test)
    scores = fitted.fuse(bare).scores
    assert "LambdaMartFusion: no provider of this gallery knows neighbours" in caplog.text
    never = FRESH.clone().fit(without_neighbours(fit))
    np.testing.assert_array_equal(scores, never.fuse(bare).scores)
    np.testing.assert_array_equal(saved(fitted, tmp_path).fuse(bare).scores, scores)


def test_neighbours_can_be_lost_with_the_provider_that_knows_them(fitted, parts, caplog):
    fewer = parts[1].select(["fair", "tied"])
    scores = fitted.fuse(fewer).scores
    excluded = fewer.dataset.excluded
    assert np.isneginf(scores[excluded.rows, excluded.values]).all()
    assert np.isfinite(scores).sum() == scores.size - len(excluded.values)
    assert "fusing without good" in caplog.text
    assert "knows neighbours" in caplog.text
