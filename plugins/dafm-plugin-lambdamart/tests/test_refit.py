"""Laws 1 to 3 after refitting: what says nothing of the scores changes nothing of the ranking.

The suite of core checks them on one fitted fuser; here the trees are grown again.
"""

import numpy as np
import pytest
from dafm_plugin_lambdamart.fuser import LambdaMartFusion

from dafm_core.store.stack import SimilarityStack
from dafm_core.testing import FuserSubject


@pytest.fixture(scope="module")
def subject():
    return FuserSubject(LambdaMartFusion(n_trees=40, min_leaf=20), n_queries=120)


def permuted(subject, rng):
    order = rng.permutation(subject.n_gallery)
    return subject.stack.take_gallery([subject.stack.gallery_ids[j] for j in order])


def renamed(subject, rng):
    """Return the stack with names that sort the other way round."""
    turned = zip("zyx", subject.matrices.values(), strict=True)
    return SimilarityStack.from_matrices(dict(turned), subject.dataset)


def rescaled(subject, rng):
    moved = {}
    for name, scores in subject.matrices.items():
        scale = rng.choice([0.5, 1.0, 4.0], (len(scores), 1))
        shift = rng.integers(-3, 4, (len(scores), 1))
        moved[name] = (scores * scale + shift).astype(np.float32)
    return subject.stack_of(moved)


@pytest.mark.parametrize("change", [permuted, renamed, rescaled])
def test_trees_grown_again_rank_the_same_first_ten(subject, change):
    other = change(subject, np.random.default_rng(0))
    fused = subject.fresh().fit(other).fuse(other).scores
    columns = [other.gallery_ids.place[name] for name in subject.stack.gallery_ids]
    tops = [
        np.argsort(-scores, axis=1, kind="stable")[:, :10]
        for scores in (subject.scores, fused[:, columns])
    ]
    assert (tops[0] == tops[1]).all(axis=1).mean() >= 0.95
