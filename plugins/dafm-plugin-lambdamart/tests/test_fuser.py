import numpy as np
import pytest
from dafm_plugin_lambdamart import plugin
from dafm_plugin_lambdamart.channels import align_bank, bank_of, channels_of
from dafm_plugin_lambdamart.fuser import LambdaMartFusion

from dafm_core.errors import FuserError, OptionError
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.normalize import zscore_rows
from dafm_core.plugins import PluginCatalog
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
    few = {**SMALL, "n_hard": 5, "n_random": 5}
    first = LambdaMartFusion(**few).fit(subject.stack, subject.dataset)
    other = LambdaMartFusion(**few, seed=1).fit(subject.stack, subject.dataset)
    assert first.model_text_ != other.model_text_


def test_targets_are_drawn_and_excluded_candidates_are_not(subject):
    start = np.array([5.0, 4.0, -np.inf, 3.0, 2.0, 1.0], np.float32)
    fuser = LambdaMartFusion(n_hard=2, n_random=1)
    for seed in range(20):
        chosen = fuser._choose(start, np.array([5]), np.random.default_rng(seed))
        assert {0, 1, 5} <= set(chosen)
        assert 2 not in chosen
        assert len(chosen) == len(set(chosen)) <= 4


def test_channels_are_row_and_column_scores_and_their_means(subject):
    bank = bank_of(tile for _, tile in subject.stack.tiles())
    tile = subject.stack.tile(0, 4)
    channels, start = channels_of(tile, bank)
    rows = zscore_rows(tile)
    columns = zscore_rows((rows - bank.mean) / bank.std)
    assert channels.shape == (4, subject.n_gallery, 8)
    np.testing.assert_allclose(channels[..., 0], rows[:, 0], rtol=1e-5)
    np.testing.assert_allclose(channels[..., 3], columns[:, 0], rtol=1e-5)
    kept = np.isfinite(start)
    both = (channels[..., 6] + channels[..., 7]) / 2
    np.testing.assert_allclose(start[kept], both[kept], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(kept, np.isfinite(tile[:, 0]))


def test_a_bank_follows_the_ids_and_strangers_count_as_average(subject):
    bank = bank_of(tile for _, tile in subject.stack.tiles())
    ids = subject.stack.gallery_ids
    moved = align_bank(bank, ids, [ids[3], "stranger", ids[0]])
    np.testing.assert_array_equal(moved.mean[:, [0, 2]], bank.mean[:, [3, 0]])
    np.testing.assert_array_equal(moved.std[:, [0, 2]], bank.std[:, [3, 0]])
    np.testing.assert_array_equal(moved.mean[:, 1], 0)
    np.testing.assert_allclose(moved.std[:, 1], bank.std.mean(1), rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"n_trees": 0}, {"n_leaves": 1}, {"min_leaf": 0}, {"learning_rate": 0.0}, {"n_random": 0}],
)
def test_options_out_of_range_are_one_line(options, subject):
    with pytest.raises(OptionError, match=next(iter(options))):
        LambdaMartFusion(**options).fit(subject.stack, subject.dataset)


def test_damaged_trees_are_one_line(subject):
    broken = subject.fresh().fit(subject.stack, subject.dataset)
    arrays, values = broken.get_state()
    broken.set_state(arrays, values | {"model_text": "no trees"})
    with pytest.raises(FuserError, match="Train again"):
        broken.fuse(subject.stack)


def test_it_loads_by_name():
    catalog = PluginCatalog()
    catalog.register(plugin, name="lambdamart")
    fuser = catalog.load_fuser("lambdamart", {"n_trees": "7"})
    assert fuser.params() == LambdaMartFusion(n_trees=7).params()


def test_a_saved_fuser_gives_the_same_bits(subject, tmp_path):
    infos = plugin.dafm_fusers()
    save_fuser(subject.fitted, tmp_path / "model", infos=infos)
    loaded = load_fuser(tmp_path / "model", infos=infos)
    np.testing.assert_array_equal(loaded.fuse(subject.stack).scores, subject.scores)
    assert loaded.fitted_query_ids_ == subject.fitted.fitted_query_ids_
    assert sorted(path.suffix for path in (tmp_path / "model").iterdir()) == [
        ".json",
        ".safetensors",
    ]
