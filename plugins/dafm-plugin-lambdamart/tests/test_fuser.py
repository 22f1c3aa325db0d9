import numpy as np
import pytest
from dafm_plugin_lambdamart import plugin
from dafm_plugin_lambdamart.fuser import LambdaMartFusion, _features

from dafm_core.catalog import PluginCatalog
from dafm_core.errors import FuserError, OptionError
from dafm_core.fusion.saving import load_fuser, save_fuser
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
    fit, held_out = subject.dataset.split(seed=1)
    fitted = LambdaMartFusion(**SMALL).fit(subject.stack, fit)
    part = subject.stack.take_queries(held_out.query_ids)
    plain = np.concatenate([zscore_rows(tile).mean(1) for _, tile in part.tiles()])
    learned = fitted.fuse(part).scores
    assert mean_rank(learned, held_out.targets) < mean_rank(plain, held_out.targets)


def test_the_seed_decides_the_random_candidates(subject):
    few = {**SMALL, "n_hard": 2, "n_random": 5}
    first = LambdaMartFusion(**few).fit(subject.stack)
    other = LambdaMartFusion(**few, seed=1).fit(subject.stack)
    assert first.model_text_ != other.model_text_


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


def test_a_gallery_the_bank_does_not_know_is_fused_by_rows(subject):
    strangers = SimilarityStack.from_matrices(
        subject.matrices,
        protocol=subject.stack.protocol,
        query_ids=subject.stack.query_ids,
        gallery_ids=[f"stranger-{i}" for i in range(subject.n_gallery)],
        excluded=subject.stack.excluded,
    )
    scores = subject.fitted.fuse(strangers).scores
    targets = subject.dataset.targets
    assert np.isfinite(scores[targets.rows, targets.values]).all()
    assert mean_rank(scores, targets) < 0.25 * subject.n_gallery


@pytest.mark.parametrize(
    "options",
    [{"n_trees": 0}, {"n_leaves": 1}, {"min_leaf": 0}, {"learning_rate": 0.0}, {"n_random": 9999}],
)
def test_options_out_of_range_are_one_line(options, subject):
    with pytest.raises(OptionError, match=next(iter(options))):
        LambdaMartFusion(**options).fit(subject.stack)


def test_damaged_trees_are_one_line(subject):
    broken = subject.fresh().fit(subject.stack)
    arrays, values = broken.get_state()
    broken.set_state(arrays, values | {"model_text": "no trees"})
    with pytest.raises(FuserError, match="Train again"):
        broken.fuse(subject.stack)


def test_it_loads_by_name():
    catalog = PluginCatalog()
    catalog.register(plugin, name="lambdamart")
    assert catalog.load_fuser("lambdamart").params() == LambdaMartFusion().params()
    given = catalog.load_fuser("lambdamart", {"n_trees": "7", "monotone": "no"})
    assert given.params() == LambdaMartFusion(n_trees=7, monotone=False).params()


def test_a_saved_fuser_gives_the_same_bits(subject, tmp_path):
    infos = plugin.dafm_fusers()
    save_fuser(subject.fitted, tmp_path / "model", infos=infos)
    loaded = load_fuser(tmp_path / "model", infos=infos)
    np.testing.assert_array_equal(loaded.fuse(subject.stack).scores, subject.scores)
    assert loaded.record_.query_ids == subject.fitted.record_.query_ids
    assert sorted(path.suffix for path in (tmp_path / "model").iterdir()) == [
        ".json",
        ".safetensors",
    ]
