"""What a fit remembers, and what it refuses because of it."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.core_plugin import STATIC_FUSERS
from dafm_core.errors import AlignmentError, FuserError, LeakageError, OptionError
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.record import FitRecord
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.fusion.static import MeanFusion, VotingFusion, WeightedFusion


@pytest.fixture
def stack(make_problem):
    return make_problem()[1]


class First(Fuser):
    """The first provider's scores; learns nothing."""

    def _scorer(self, gallery):
        return lambda tile: tile[:, 0]


class Fails(First):
    """Cannot learn from fewer than sixty queries."""

    def _fit(self, stack, *, bank, progress):
        if stack.n_queries < 60:
            raise FuserError("too few")


def with_passports(stack, **checkpoints):
    passports = {
        name: {"fingerprint": {"checkpoint": checkpoint}, "options": {}, "seconds": 3}
        for name, checkpoint in checkpoints.items()
    }
    return replace(stack, gallery=replace(stack.gallery, passports=passports))


def test_a_record_survives_json(stack):
    fit, bank = stack.split(seed=0)
    scored = with_passports(fit, **{"model-0": "aa", "model-2": "cc"})
    record = FitRecord.of(scored, labelled=True, bank=bank)
    assert FitRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert record.providers == stack.names
    assert record.protocol == "toy-val"
    assert record.query_ids == set(fit.query_ids)
    assert record.bank_ids == set(bank.query_ids)
    assert record.passports["model-0"] == {"fingerprint": {"checkpoint": "aa"}, "options": {}}


def test_only_a_fuser_that_learns_remembers_queries(stack):
    assert First().fit(stack).record_.query_ids == frozenset()
    assert WeightedFusion().fit(stack).record_.query_ids == set(stack.query_ids)
    run = WeightedFusion().fit(stack).fuse(stack)
    assert run.fitted_query_ids == set(stack.query_ids)


def test_queries_it_was_fitted_on_are_refused(stack):
    fit, held_out = stack.split(seed=0)
    record = FitRecord.of(fit, labelled=True, bank=None)
    record.refuse(held_out.dataset, who="Mine")
    mixed = [held_out.query_ids[0], fit.query_ids[3], fit.query_ids[5]]
    with pytest.raises(LeakageError, match=rf"^Mine: .* got 2 of 3 .*'{fit.query_ids[3]}'"):
        record.refuse(stack.take_queries(mixed).dataset, who="Mine")


def test_an_id_of_another_dataset_is_another_query(stack):
    """Two datasets that count their queries from q0: only the same query is leaked."""
    fit, _ = stack.split(seed=0)
    record = FitRecord.from_json(FitRecord.of(fit, labelled=True, bank=None).to_json())
    renamed = replace(fit.dataset, protocol="toy-val-renamed")
    assert record.seen_of(renamed) == set(fit.query_ids)
    others = pl.Series("targets", [[t] for t in fit.gallery_ids[: fit.n_queries]])
    half = pl.int_range(pl.len()) % 2 == 0
    queries = fit.dataset.queries
    mixed = queries.with_columns(pl.when(half).then(others).otherwise("targets").alias("targets"))
    other = replace(renamed, queries=mixed)
    same = queries.filter(mixed["targets"] == queries["targets"])["query_id"].to_list()
    assert 0 < len(same) < fit.n_queries
    assert record.seen_of(other) == set(same)
    assert record.seen_of(replace(other, protocol=fit.protocol)) == set(fit.query_ids)
    old = replace(record, query_hashes={})  # saved by an older dafm
    assert old.seen_of(other) == set(fit.query_ids)


def test_a_fuser_ranks_queries_of_another_dataset_that_bear_the_same_ids(stack):
    """It was refused: ids were compared without what they stand for."""
    fitted = WeightedFusion().fit(stack)
    targets = [[t] for t in reversed(stack.gallery_ids)] * 2
    queries = stack.dataset.queries.with_columns(pl.Series("targets", targets[: stack.n_queries]))
    other = replace(stack, dataset=replace(stack.dataset, protocol="other", queries=queries))
    assert evaluate(fitted, other).values["recall@1"] >= 0
    with pytest.raises(LeakageError):
        evaluate(fitted, stack)


@pytest.mark.parametrize("may_lack", [False, True])
def test_a_gallery_of_other_providers_is_refused(stack, may_lack):
    record = FitRecord.of(stack, labelled=False, bank=None)
    assert record.check(stack.gallery, who="Mine", may_lack=may_lack) == ()
    stranger = replace(stack.gallery, names=("model-0", "model-1", "stranger"))
    with pytest.raises(AlignmentError, match=r"^Mine: expected providers .*, got .*stranger"):
        record.check(stranger, who="Mine", may_lack=may_lack)


def test_only_who_may_lack_providers_learns_which(stack):
    record = FitRecord.of(stack, labelled=False, bank=None)
    fewer = stack.gallery.select(["model-1"])
    assert record.check(fewer, who="Mine", may_lack=True) == ("model-0", "model-2")
    with pytest.raises(AlignmentError, match=r"got model-1\. Score the missing ones"):
        record.check(fewer, who="Mine")


def test_another_model_behind_a_name_is_refused_also_after_saving(stack, tmp_path):
    scored = with_passports(stack, **dict.fromkeys(stack.names, "aa"))
    folder = save_fuser(MeanFusion().fit(scored), tmp_path / "m", infos=STATIC_FUSERS)
    loaded = load_fuser(folder, infos=STATIC_FUSERS)
    loaded.fuse(scored)
    changed = with_passports(stack, **dict.fromkeys(stack.names, "aa") | {"model-1": "bb"})
    with pytest.raises(AlignmentError, match=r"'model-1': expected checkpoint 'aa'.*'bb'"):
        loaded.fuse(changed)
    loaded.fuse(stack)  # whose models are not known
    with pytest.raises(AlignmentError, match="expected providers"):
        loaded.fuse(stack.select(["model-0"]))


def test_a_bank_of_another_model_is_refused(stack):
    fit, other = stack.split(seed=0)
    fit, bank = with_passports(fit, **{"model-0": "aa"}), with_passports(other, **{"model-0": "b"})
    with pytest.raises(AlignmentError, match="First: bank: provider 'model-0': expected"):
        First().fit(fit, bank=bank)


def test_queries_of_the_bank_are_never_fused(stack):
    fit, bank = stack.split(seed=0)
    fitted = First().fit(fit, bank=bank)
    fitted.fuse(fit)
    with pytest.raises(LeakageError, match=f"bank holds {bank.n_queries} of the queries"):
        fitted.fuse(bank)


def test_a_copy_has_the_same_arguments_and_is_not_fitted(stack):
    fitted = VotingFusion("majority", constant=7).fit(stack)
    copy = fitted.clone()
    assert copy.params() == fitted.params()
    assert (fitted.is_fitted, copy.is_fitted) == (True, False)


def test_a_fuser_without_a_default_must_be_fitted(stack):
    with pytest.raises(FuserError, match=r"First is not fitted. Call fit\(stack\) first"):
        First().fuse(stack)
    np.testing.assert_array_equal(First().fit(stack).fuse(stack).scores, stack.tile(0, 60)[:, 0])


def test_a_run_is_called_as_asked_or_after_the_fuser(stack):
    fitted = First().fit(stack)
    assert fitted.fuse(stack).name == "First"
    assert fitted.fuse(stack, name="mine").name == "mine"


def test_a_fuser_without_a_bank_takes_none(stack):
    with pytest.raises(OptionError, match="First: has no query bank"):
        First().with_bank(stack)


def test_a_fit_that_fails_leaves_the_fuser_unfitted(stack):
    fitted = Fails().fit(stack)
    with pytest.raises(FuserError, match="too few"):
        fitted.fit(stack.take_queries(stack.query_ids[:5]))
    assert not fitted.is_fitted
    with pytest.raises(FuserError, match="not fitted"):
        fitted.fuse(stack)
