"""Parts in processes of their own: the same results, and nothing copied that lies in a file."""

from functools import partial

import numpy as np
import pytest

from dafm_core.errors import FuserError, OptionError
from dafm_core.evaluation.crossfit import fit_and_evaluate, fit_and_evaluate_all, sees_order
from dafm_core.evaluation.design import Folds
from dafm_core.evaluation.workers import in_workers, n_workers_for
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.logistic import LogisticFusion
from dafm_core.fusion.static import WeightedFusion
from dafm_core.store.stack import SimilarityStack


@pytest.fixture
def mapped(make_problem, tmp_path):
    """A stack whose rows lie in files."""
    dataset, stack = make_problem(n_queries=40)
    for name, matrix in zip(stack.names, stack.matrices, strict=True):
        np.save(tmp_path / f"{name}.npy", matrix)
    matrices = {n: np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in stack.names}
    return SimilarityStack.from_matrices(matrices, dataset)


def test_fusers_that_share_a_part_are_evaluated_as_each_alone_in_any_number_of_processes(mapped):
    fusers = {
        "weights": WeightedFusion(),
        "logistic": LogisticFusion(inputs="rows,columns"),
        "firmer": LogisticFusion(inputs="rows,columns", regularization=0.01),  # the same channels
        "other inputs": LogisticFusion(inputs="ranks"),
    }
    parts = Folds(2, seed=0).parts(mapped)
    every = partial(fit_and_evaluate_all, fusers, mapped, parts, shuffled=mapped.gallery_ids[::-1])
    alone, together = every(), every(n_workers=2)
    for name, fuser in fusers.items():
        (expected,) = fit_and_evaluate(fuser, mapped, parts, name=name)
        for found in (*alone[name], *together[name]):
            assert found.frame.equals(expected.frame)


def test_a_small_stack_or_one_in_memory_starts_no_process(mapped, make_problem, monkeypatch):
    assert n_workers_for(mapped, 5) == 1
    monkeypatch.setattr("dafm_core.evaluation.workers.FEW_CELLS", 1)
    monkeypatch.setattr("dafm_core.evaluation.workers._n_cores", lambda: 3)
    assert n_workers_for(mapped, 5) == 3
    assert n_workers_for(mapped, 2) == 2
    assert n_workers_for(make_problem()[1], 5) == 1


def test_a_process_that_ends_before_its_work_is_one_line(monkeypatch):
    with pytest.raises(FuserError, match="Use fewer: --workers 1"):
        list(in_workers(_end, [1, 2], n_workers=2))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_what_is_done_meanwhile_is_done_and_may_fail(n_workers):
    done = []
    found = in_workers(abs, [-1, -2], n_workers=n_workers, meanwhile=lambda: done.append("this"))
    assert list(found) == [1, 2]
    assert done == ["this"]

    def fail():
        raise OptionError("no such rule")

    with pytest.raises(OptionError, match="no such rule"):
        list(in_workers(abs, [-1, -2], n_workers=n_workers, meanwhile=fail))


def _end(code):
    import os

    os._exit(code)


class Smoother(Fuser):
    """Says that the order of the gallery does not matter, though it does."""

    kind = "learned"
    has_default = True

    def _scorer(self, gallery):
        return lambda tile: tile.mean(1) + 0.5 * np.roll(tile.mean(1), 1, axis=1)


class PlainMean(Smoother):
    def _scorer(self, gallery):
        return lambda tile: tile.mean(1)


class SubsetSmoother(PlainMean):
    """Ranks the gallery candidate by candidate, and the subset along the file."""

    heads = ("gallery", "subset")

    def _head_scorer(self, gallery, heads):
        scorers = {"gallery": PlainMean(), "subset": Smoother()}
        ready = {head: scorers[head]._scorer(gallery) for head in heads}
        return lambda tile: {head: score(tile) for head, score in ready.items()}


def test_whatever_a_fuser_declares_its_scores_show_whether_it_sees_the_order(make_problem):
    _, stack = make_problem()
    shuffled = [stack.gallery_ids[j] for j in np.random.default_rng(0).permutation(40)]
    assert not Smoother.gallery_order_matters
    assert sees_order(Smoother().fit(stack), stack, shuffled)
    assert not sees_order(PlainMean().fit(stack), stack, shuffled)
    assert sees_order(SubsetSmoother().fit(stack), stack, shuffled)


def test_what_is_made_of_a_stack_is_made_once_only_where_it_remembers(make_problem):
    _, stack = make_problem()
    made = []
    for owner, n_times in ((stack, 3), (stack.remembering(), 1)):
        made.clear()
        values = [owner.remember("x", lambda: made.append(0) or object()) for _ in range(3)]
        assert len(made) == n_times
        assert len(set(map(id, values))) == n_times
    remembering = stack.remembering()
    remembering.remember("x", dict)
    assert remembering.take_queries(stack.query_ids[:5]).made is None
    some = remembering.select(stack.names[:1])
    assert some.made == {}, "of other providers other things are made"
    assert some.whole is remembering


def test_fewer_than_one_worker_is_refused(make_problem):
    from argparse import Namespace

    from dafm_core.cli.arguments import workers_of

    with pytest.raises(OptionError, match="--workers: expected at least 1, got 0"):
        workers_of(Namespace(workers=0), make_problem()[1], 5)
