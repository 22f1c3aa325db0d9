"""Votes, counted by hand."""

import numpy as np
import pytest

from dafm_core.errors import OptionError
from dafm_core.fusion.static import VotingFusion


@pytest.fixture
def stack(make_problem):
    return make_problem()[1]


def by_hand(stack, combine):
    return np.stack([combine(stack.tile(q, q + 1)[0]) for q in range(stack.n_queries)])


def test_reciprocal_rank_by_hand(stack):
    def rrf(scores):
        places = np.argsort(np.argsort(-scores, axis=1), axis=1) + 1
        return np.where(np.isneginf(scores[0]), -np.inf, (1 / (60 + places)).sum(axis=0))

    np.testing.assert_allclose(
        VotingFusion("rrf").fuse(stack).scores, by_hand(stack, rrf), rtol=1e-5
    )


def test_borda_is_the_mean_share_of_candidates_beaten(stack):
    def borda(scores):
        kept = np.isfinite(scores[0])
        beaten = (scores[:, :, None] > scores[:, None, kept]).sum(axis=2)
        return np.where(kept, (beaten / (kept.sum() - 1)).mean(axis=0), -np.inf)

    np.testing.assert_allclose(
        VotingFusion("borda").fuse(stack).scores, by_hand(stack, borda), atol=1e-5
    )


def test_majority_counts_ballots_before_anything_else(stack):
    def votes(scores):
        return (np.argsort(np.argsort(-scores, axis=1), axis=1) < 5).sum(axis=0)

    scores = VotingFusion("majority", constant=5).fuse(stack).scores
    kept = np.isfinite(scores)
    np.testing.assert_array_equal(np.floor(scores[kept]), by_hand(stack, votes)[kept])


@pytest.mark.parametrize(
    ("rule", "constant", "message"),
    [
        ("bordo", None, r"unknown rule 'bordo'; did you mean 'borda'\?"),
        ("rrf", -1, "expected no constant for borda, else one >= 0, got -1"),
        ("borda", 1, "expected no constant for borda, else one >= 0, got 1"),
    ],
)
def test_unknown_rules_and_constants_are_refused(rule, constant, message):
    with pytest.raises(OptionError, match=message):
        VotingFusion(rule, constant=constant)
