"""What the trees learn, how they start, and their options."""

import numpy as np
import pytest
from dafm_plugin_lambdamart import plugin
from dafm_plugin_lambdamart.fuser import LambdaMartFusion, _features

from dafm_core.catalog import PluginCatalog
from dafm_core.errors import FuserError, OptionError
from dafm_core.ground.normalize import zscore_rows
from dafm_core.store.stack import SimilarityStack
from dafm_core.testing import FuserSubject

SMALL = {"n_trees": 30, "min_leaf": 5}


@pytest.fixture(scope="module")
def subject():
    return FuserSubject(LambdaMartFusion(**SMALL), n_queries=120)


def mean_rank(scores, targets):
    own = scores[targets.rows, targets.values][:, None]
    return ((scores > own).sum(1) + ((scores == own).sum(1) + 1) / 2).mean()


def test_it_learns_which_provider_to_trust(subject):
    fit, held_out = subject.stack.split(seed=1)
    learned = LambdaMartFusion(**SMALL).fit(fit).fuse(held_out).scores
    plain = np.concatenate([zscore_rows(tile).mean(1) for _, tile in held_out.tiles()])
    targets = held_out.dataset.targets
    assert mean_rank(learned, targets) < mean_rank(plain, targets)


def test_where_all_candidates_are_alike_no_tree_grows(subject):
    rows = {name: np.zeros_like(scores) for name, scores in subject.matrices.items()}
    stack = SimilarityStack.from_matrices(rows, subject.stack.dataset)
    fused = LambdaMartFusion(**SMALL).fit(stack).scorer(stack)(stack.tile(0, 8))
    assert np.ptp(fused[np.isfinite(fused)]) == 0


def test_the_seed_decides_the_random_candidates(subject):
    few = {**SMALL, "n_hard": 2, "n_uniform": 5}
    trees = [
        LambdaMartFusion(**few, seed=seed).fit(subject.stack).learned_.notes["model_text"]
        for seed in (0, 1)
    ]
    assert trees[0] != trees[1]


def test_more_evidence_never_lowers_a_candidate(subject):
    fitted = subject.fitted
    raised = {name: scores.copy() for name, scores in subject.matrices.items()}
    raised["good"][:, 7] += 0.5
    before = subject.scores
    after = fitted.fuse(subject.stack_of(raised)).scores
    kept = np.isfinite(before)
    places = [((s > s[:, 7:8]) & kept).sum(1) for s in (before, after)]
    assert (places[1] <= places[0])[kept[:, 7]].all()


def test_trees_see_channels_and_start_from_their_mean():
    channels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    features, start = _features(channels)
    np.testing.assert_array_equal(start, channels.mean(1))
    np.testing.assert_array_equal(features[..., :3], channels.transpose(0, 2, 1))
    np.testing.assert_array_equal(features[..., 3], start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_trees": 0}, "lambdamart: expected n_trees >= 1 and <= 10000, got 0"),
        ({"n_leaves": 1}, "lambdamart: expected n_leaves >= 2"),
        ({"min_leaf": 0}, "lambdamart: expected min_leaf >= 1"),
        ({"learning_rate": 0.0}, "lambdamart: expected learning_rate > 0 and <= 100, got 0.0"),
        ({"n_uniform": 9999}, "lambdamart: expected n_uniform >= 1 and <= 5000, got 9999"),
        ({"n_random": 5}, "lambdamart: unknown option 'n_random'"),
    ],
)
def test_options_out_of_range_are_one_line(options, message):
    with pytest.raises(OptionError, match=message):
        LambdaMartFusion(**options)


def test_damaged_trees_are_one_line(subject):
    arrays, values = subject.fitted.get_state()
    broken = subject.fresh()
    broken.record_ = subject.fitted.record_
    broken.set_state(arrays, values | {"learned": {"model_text": "no trees"}})
    with pytest.raises(FuserError, match="Train again"):
        broken.fuse(subject.stack)


def test_it_loads_by_name():
    catalog = PluginCatalog()
    catalog.register(plugin, name="lambdamart")
    assert catalog.load_fuser("lambdamart").params() == LambdaMartFusion().params()
    changed = catalog.load_fuser("lambdamart", {"n_trees": "7", "monotone": "no"})
    assert changed.params() == LambdaMartFusion(n_trees=7, monotone=False).params()
