"""The count of configurations: distinct ones, by query set and split, kept beside the store."""

import json
import logging

import pytest

from dafm_core.comparison.compare import compare
from dafm_core.errors import StoreError
from dafm_core.evaluation.design import Folds
from dafm_core.evaluation.trials import TrialLog, Trials
from dafm_core.evaluation.tuning import SelectedFusion
from dafm_core.fusion.logistic import LogisticFusion
from dafm_core.fusion.static import MeanFusion


@pytest.fixture
def dataset(make_problem):
    return make_problem()[0]


def add(log, dataset, *fusers, providers=("a", "b"), design="folds"):
    return log.add(dataset, fusers, providers, design=design)


def test_each_learned_configuration_counts_once(dataset, tmp_path):
    log = TrialLog(tmp_path)
    assert add(log, dataset, LogisticFusion(), MeanFusion()) == Trials(tried=1, new=1)
    assert add(log, dataset, LogisticFusion()) == Trials(tried=1, new=0)
    assert add(TrialLog(tmp_path), dataset, LogisticFusion(inputs="ranks")).tried == 2
    assert add(log, dataset, LogisticFusion(), providers=("a",)).tried == 3
    assert add(log, dataset, LogisticFusion(), design="other folds") == Trials(tried=4, new=1)


def test_other_queries_have_a_count_of_their_own_and_order_is_none(dataset, tmp_path):
    log = TrialLog(tmp_path)
    add(log, dataset, LogisticFusion())
    ids = dataset.query_ids
    assert add(log, dataset.take(ids[::-1]), LogisticFusion()).new == 0
    assert add(log, dataset.take(ids[1:]), LogisticFusion()) == Trials(tried=1, new=1)


def test_options_chosen_within_the_training_part_are_one_configuration(dataset, tmp_path):
    log = TrialLog(tmp_path)
    two = {"a": LogisticFusion(), "b": LogisticFusion(inputs="ranks")}
    assert add(log, dataset, SelectedFusion(candidates=two)).tried == 1
    more = two | {"c": LogisticFusion(n_hard=3)}
    assert add(log, dataset, SelectedFusion(candidates=more)).tried == 2


def test_a_comparison_counts_and_says_so(make_problem, tmp_path):
    _, stack = make_problem()
    log = TrialLog(tmp_path)
    rows = {"one": LogisticFusion(), "two": LogisticFusion(inputs="ranks"), "mean": MeanFusion()}
    found = compare(stack, rows, design=Folds(2), n_resamples=50, trials=log)
    words = found.to_json()["audits"]["trials"]["words"]
    assert words.startswith("2 configurations of learned fusers have been measured")
    alone = compare(stack, rows, design=Folds(2), n_resamples=50)
    assert alone.to_json()["audits"]["trials"] is None
    assert Trials(tried=1, new=1).words.startswith("One configuration of a learned fuser has")
    assert Trials(tried=0, new=0).words.startswith("No configuration of a learned fuser has")


@pytest.mark.parametrize("text", ["{", "[]", '{"format_version": 1}'])
def test_a_damaged_record_is_not_overwritten(dataset, tmp_path, text):
    (tmp_path / "trials.json").write_text(text)
    with pytest.raises(StoreError, match="Remove it to start counting again"):
        add(TrialLog(tmp_path), dataset, LogisticFusion())
    assert (tmp_path / "trials.json").read_text() == text


def test_a_newer_record_is_refused(dataset, tmp_path):
    record = {"format_version": 9, "queries": {}}
    (tmp_path / "trials.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match="expected format 1, got 9"):
        add(TrialLog(tmp_path), dataset, LogisticFusion())


def test_where_it_cannot_write_it_warns_and_still_counts(dataset, tmp_path, caplog):
    (tmp_path / "file").touch()
    log = TrialLog(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        assert add(log, dataset, LogisticFusion()) == Trials(tried=1, new=1)
    assert "the count of trials cannot be kept" in caplog.text
