"""Banks of unlabelled queries: what they change, and what is refused."""

import numpy as np
import pytest

from dafm_core.errors import AlignmentError, LeakageError
from dafm_core.evaluation.crossfit import clone, fit_and_evaluate, fold_splits
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.fusion.logistic import LogisticFusion
from dafm_core.fusion.saving import load_fuser, save_fuser

FUSERS = [LightFusion(network="linear"), LogisticFusion(inputs="rows,restandardized")]


@pytest.fixture
def parts(make_problem):
    """Return (training, held out, unlabelled, stack)."""
    dataset, stack = make_problem(n_queries=240)
    ids = dataset.query_ids
    return dataset.take(ids[:80]), dataset.take(ids[80:120]), ids[120:], stack


@pytest.fixture(params=FUSERS, ids=lambda fuser: type(fuser).__name__)
def fuser(request, parts):
    fresh = clone(request.param)
    fresh.bank_queries = parts[3].take_queries(parts[2])
    return fresh


def test_the_bank_is_of_those_queries_and_outlives_saving(fuser, parts, tmp_path):
    fit, held_out, unlabelled, stack = parts
    fuser.fit(stack, fit)
    expected = QueryBank.of(stack.take_queries(unlabelled))
    np.testing.assert_array_equal(fuser.bank_.statistics.mean, expected.statistics.mean)
    part = stack.take_queries(held_out.query_ids)
    again = load_fuser(save_fuser(fuser, tmp_path / "model"))
    np.testing.assert_array_equal(again.fuse(part).scores, fuser.fuse(part).scores)
    own = clone(fuser)
    own.bank_queries = None
    assert not np.allclose(own.fit(stack, fit).fuse(part).scores, fuser.fuse(part).scores)


def test_copies_keep_it(fuser, parts):
    fit, _, _, stack = parts
    assert clone(fuser).bank_queries is fuser.bank_queries
    found = fit_and_evaluate(fuser, [stack], fit, fold_splits(fit, 2), train_stack=stack)[0]
    own = clone(fuser)
    own.bank_queries = None
    other = fit_and_evaluate(own, [stack], fit, fold_splits(fit, 2), train_stack=stack)[0]
    assert found.values != other.values


def test_queries_trained_on_or_evaluated_are_refused(fuser, parts, tmp_path):
    fit, held_out, unlabelled, stack = parts
    fuser.bank_queries = stack.take_queries([*unlabelled, held_out.query_ids[0]])
    fuser.fit(stack, fit)
    for fitted in (fuser, load_fuser(save_fuser(fuser, tmp_path / "model"))):
        with pytest.raises(LeakageError, match="bank holds 1 of the queries"):
            evaluate(fitted, stack, held_out)
    fuser.bank_queries = stack.take_queries([*unlabelled, fit.query_ids[0]])
    with pytest.raises(LeakageError, match="expected other queries than those trained on, got 1"):
        fuser.fit(stack, fit)


def test_a_bank_without_a_provider_or_a_candidate_is_refused(fuser, parts):
    fit, _, unlabelled, stack = parts
    bank = stack.take_queries(unlabelled)
    fuser.bank_queries = bank.select(["model-0"])
    with pytest.raises(AlignmentError, match="bank: expected providers"):
        fuser.fit(stack, fit)
    fuser.bank_queries = bank.take_gallery(stack.gallery_ids[1:])
    with pytest.raises(AlignmentError, match="no scores of gallery image"):
        fuser.fit(stack, fit)
