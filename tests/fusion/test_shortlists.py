"""Laws of rows that cover a shortlist, over every fuser of core."""

import numpy as np
import pytest

from dafm_core.catalog import resolve
from dafm_core.core_plugin import FUSERS
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.fusion.completing import complete
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.store.gallery import Gallery
from dafm_core.store.shortlist import Shortlist
from dafm_core.store.stack import SimilarityStack

MEANINGS = ("below", "not-asked")
QUICK = {
    "light": {"n_seeds": 1, "n_epochs": 2},
    "light-paper": {"n_steps": 4},
}


@pytest.fixture(scope="module", params=[info.name for info in FUSERS])
def make_fuser(request):
    info = next(info for info in FUSERS if info.name == request.param)
    options = QUICK.get(info.name, {})
    return lambda: resolve(info.factory, where=info.name)(**options)


@pytest.fixture(scope="module")
def stack(make_problem):
    return make_problem(n_queries=48, n_gallery=30)[1]


def shortlisted(stack, name, depth, meaning, *, by=None):
    """Return the stack with one provider's rows cut to the best ``depth`` under provider ``by``."""
    scores = stack.matrices[stack.names.index(name)]
    guide = stack.matrices[stack.names.index(by or name)].copy()
    guide[stack.dataset.excluded.rows, stack.dataset.excluded.values] = -np.inf
    columns = [np.argsort(-row, kind="stable")[:depth] for row in guide]
    listed = Shortlist.of_lists(
        columns, [row[c] for row, c in zip(scores, columns, strict=True)], stack.n_gallery
    )
    matrices = dict(zip(stack.names, stack.matrices, strict=True)) | {name: listed}
    return SimilarityStack.from_matrices(matrices, stack.dataset, unknown={name: meaning})


def partial(stack):
    """Return a stack of a list, a verifier of the head of another provider, and dense rows."""
    listed = shortlisted(stack, "model-0", 8, "below")
    verified = shortlisted(stack, "model-1", 6, "not-asked", by="model-2")
    matrices = dict(zip(stack.names, stack.matrices, strict=True))
    matrices |= {"model-0": listed.matrices[0], "model-1": verified.matrices[1]}
    return SimilarityStack.from_matrices(
        matrices, stack.dataset, unknown={"model-0": "below", "model-1": "not-asked"}
    )


@pytest.fixture(scope="module")
def mixed(stack):
    return partial(stack)


@pytest.fixture(scope="module")
def fitted(make_fuser, mixed):
    return make_fuser().fit(mixed)


@pytest.fixture(scope="module")
def scores(fitted, mixed):
    return fitted.fuse(mixed).scores


@pytest.mark.parametrize("meaning", MEANINGS)
def test_a_dense_row_given_as_a_shortlist_of_all_candidates_changes_nothing(
    make_fuser, stack, meaning
):
    whole = shortlisted(stack, "model-1", stack.n_gallery, meaning)
    expected = make_fuser().fit(stack).fuse(stack).scores
    np.testing.assert_allclose(
        make_fuser().fit(whole).fuse(whole).scores, expected, atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("meaning", MEANINGS)
def test_so_it_does_for_a_query_all_of_whose_candidates_are_listed(make_fuser, stack, meaning):
    """Where other queries are cut, the stack says unknown, and the row is whole all the same."""
    whole = shortlisted(stack, "model-1", stack.n_gallery, meaning)
    cut = shortlisted(stack, "model-1", 5, meaning)
    assert cut.gallery.unknown
    fuser = make_fuser().fit(stack)
    score = fuser.scorer(cut.gallery)
    tile = whole.tile(0, 4)
    np.testing.assert_allclose(score(tile), fuser.scorer(stack.gallery)(tile), atol=1e-6)


def test_excluded_cells_stay_excluded_and_all_others_are_finite(scores, mixed):
    excluded = np.zeros(scores.shape, bool)
    excluded[mixed.dataset.excluded.rows, mixed.dataset.excluded.values] = True
    assert np.isneginf(scores[excluded]).all()
    assert np.isfinite(scores[~excluded]).all()


def test_permuting_the_gallery_permutes_the_scores(fitted, scores, mixed):
    if fitted.gallery_order_matters:
        pytest.skip("the paper's network mixes neighbours in the file")
    order = np.random.default_rng(1).permutation(mixed.n_gallery)
    permuted = mixed.take_gallery([mixed.gallery_ids[i] for i in order])
    got = fitted.fuse(permuted).scores
    np.testing.assert_allclose(got, scores[:, order], atol=1e-4)


def test_a_query_does_not_depend_on_its_tile(fitted, scores, mixed):
    score = fitted.scorer(mixed)
    for size in (1, 7):
        rows = np.concatenate([score(tile) for _, tile in mixed.tiles(size)])
        np.testing.assert_allclose(rows, scores, atol=1e-5)


def test_shifting_and_stretching_a_shortlist_changes_no_ranking(fitted, scores, mixed):
    rng = np.random.default_rng(2)
    moved = {}
    for name, rows in zip(mixed.names, mixed.matrices, strict=True):
        scale = rng.choice([0.5, 1.0, 4.0], mixed.n_queries).astype(np.float32)
        if isinstance(rows, Shortlist):
            each = np.repeat(scale, rows.counts)
            moved[name] = Shortlist(
                rows.offsets, rows.columns, rows.scores * each + each, rows.n_gallery
            )
        else:
            moved[name] = rows * scale[:, None] + scale[:, None]
    stack = SimilarityStack.from_matrices(moved, mixed.dataset, unknown=mixed.gallery.unknown)
    got = fitted.fuse(stack).scores
    for new, old in zip(got, scores, strict=True):
        order = np.argsort(-old, kind="stable")[: np.isfinite(old).sum()]
        slack = 1e-4 * np.ptp(new[order])
        assert (new[order] >= np.maximum.accumulate(new[order][::-1])[::-1] - slack).all()


def test_same_seed_same_bits(make_fuser, scores, mixed):
    again = make_fuser().fit(mixed).fuse(mixed).scores
    assert np.array_equal(again, scores)


def test_candidates_that_nobody_knows_tie_below_all_others(make_fuser, stack):
    cut = shortlisted(stack, "model-1", 4, "below").select(["model-1"])
    fuser = make_fuser().fit(cut)
    run = fuser.fuse(cut)
    for scores, unknown in zip(run.scores, run.unknown, strict=True):
        assert len(set(scores[unknown].tolist())) == 1
        assert scores[unknown][0] < scores[~unknown & np.isfinite(scores)].min()


@pytest.mark.parametrize("metric", ["recall@5", "hit@10", "map@10", "mrr", "rsubset@1", "first@5"])
def test_a_decided_number_does_not_depend_on_the_order_nobody_knows(make_fuser, stack, metric):
    two = shortlisted(stack, "model-1", 6, "below")
    two = SimilarityStack.from_matrices(
        {
            "a": two.matrices[1],
            "b": shortlisted(stack, "model-2", 6, "below").matrices[2],
        },
        stack.dataset,
    )
    fuser = make_fuser().fit(two)
    values = evaluate(fuser, two, metrics=[metric], allow_fitted=True).per_query[:, 0]
    run = fuser.fuse(two)
    rng = np.random.default_rng(0)
    truth, by_one = stack.truth, run.subset_scores is None
    from dafm_core.metrics.spec import parse_metrics

    seen = []
    for _ in range(6):
        noise = rng.random(run.scores.shape) * 1e-9
        gallery, subset = (
            np.where(run.unknown, scores.astype(np.float64) - 1 - noise, scores)
            for scores in (run.scores, run.scores if by_one else run.subset_scores)
        )
        measured = truth.measure(gallery, parse_metrics([metric]), subset_scores=subset)
        seen.append(measured[:, 0])
    decided = ~np.isnan(values)
    assert decided.any()
    np.testing.assert_allclose(
        np.stack(seen)[:, decided], np.broadcast_to(values[decided], (6, decided.sum()))
    )


def test_two_verifiers_do_not_see_the_other_queries_of_a_tile():
    """One that knows all of a query speaks for the other, whatever it knows of other queries."""
    gallery = Gallery(
        names=("a", "v", "w"), ids=tuple("xyz"), unknown={"v": "not-asked", "w": "not-asked"}
    )
    nan = np.nan
    tile = np.array(
        [[[3, 2, 1], [1, 2, 3], [5, 6, nan]], [[3, 2, 1], [1, nan, 3], [5, 6, nan]]], np.float32
    )
    together = complete(tile, gallery)
    apart = np.concatenate([complete(tile[:1], gallery), complete(tile[1:], gallery)])
    np.testing.assert_array_equal(together, apart)


def test_being_asked_neither_rewards_nor_punishes(stack):
    """The asked keep, as a group, the mean and spread that the fusion without the verifier gives;
    the others keep their very scores.
    """
    verified = shortlisted(stack, "model-1", 6, "not-asked", by="model-2")
    light = LightFusion(network="linear").fit(verified)
    others = light.scorer(verified.gallery.select(["model-0", "model-2"]))
    tile = verified.tile(0, 10)
    fused, without = light.scorer(verified)(tile), others(tile[:, [0, 2]])
    asked = np.isfinite(tile[:, 1])
    excluded = np.isneginf(tile[:, 1])
    for row in range(10):
        rest = ~asked[row] & ~excluded[row]
        np.testing.assert_array_equal(fused[row, rest], without[row, rest])
        mine, theirs = fused[row, asked[row]], without[row, asked[row]]
        np.testing.assert_allclose(mine.mean(), theirs.mean(), atol=1e-5)
        np.testing.assert_allclose(mine.std(), theirs.std(), atol=1e-5)
    assert not np.allclose(fused, without)


def test_a_set_of_providers_learns_from_what_all_its_members_know(stack):
    """Weights without the verifier do not depend on whom it was asked about.

    How firmly the start is held is given: it is chosen by what all providers know, the verifier
    among them.
    """
    verified = shortlisted(stack, "model-1", 6, "not-asked", by="model-2")
    light = LightFusion(network="linear", inputs="rows", prior=160.0).fit(verified)
    dense = LightFusion(network="linear", inputs="rows", prior=160.0).fit(stack)
    sets = light.learned_.arrays["provider_sets"]
    row = next(i for i, used in enumerate(sets.tolist()) if used == [True, False, True])
    np.testing.assert_allclose(light.weights_[row], dense.weights_[row], atol=1e-6)
    assert not np.allclose(light.weights_[0], dense.weights_[0])
