"""Fusers behave as scikit-learn's estimators do, and every public object says what it is."""

import pytest
from sklearn.base import clone

import dafm_core as dafm
from dafm_core.catalog import PluginCatalog
from dafm_core.errors import OptionError
from dafm_core.evaluation.tuning import SelectedFusion

FUSERS = list(PluginCatalog.discover().fusers)


@pytest.mark.parametrize("name", FUSERS)
def test_scikit_learn_clones_reads_and_sets_parameters(name):
    fuser = PluginCatalog.discover().load_fuser(name)
    copy = clone(fuser)
    assert type(copy) is type(fuser)
    assert copy is not fuser
    assert copy.get_params() == fuser.get_params() == fuser.params()
    assert copy.set_params(**fuser.get_params()) is copy
    assert copy.get_params() == fuser.get_params()
    with pytest.raises(OptionError, match="unknown option 'sed'"):
        fuser.set_params(sed=1)


@pytest.mark.parametrize("name", FUSERS)
def test_what_is_printed_makes_the_same_fuser(name):
    fuser = PluginCatalog.discover().load_fuser(name)
    again = eval(repr(fuser), {type(fuser).__name__: type(fuser)})
    assert again.params() == fuser.params()


def test_only_what_is_not_usual_is_printed():
    assert repr(dafm.LightFusion()) == "LightFusion()"
    assert repr(dafm.LightFusion(seed=3)) == "LightFusion(seed=3)"


def test_another_parameter_needs_another_fit(make_problem):
    _, stack = make_problem()
    fuser = dafm.MeanFusion().fit(stack)
    assert repr(fuser) == "<MeanFusion() fitted on toy-val: model-0, model-1, model-2>"
    assert not fuser.set_params(normalize="rank").is_fitted
    assert fuser.fit(stack).get_params()["normalize"] == "rank"


def test_a_value_that_is_refused_changes_nothing():
    fuser = dafm.LightFusion(seed=3)
    with pytest.raises(OptionError, match="n_epochs"):
        fuser.set_params(n_epochs=-1)
    assert fuser.params()["seed"] == 3


def test_parameters_of_inner_fusers_are_read():
    outer = SelectedFusion(candidates={"a": dafm.MeanFusion()})
    assert clone(outer).params().keys() == outer.params().keys()
    assert "a" in outer.get_params()["candidates"]


def test_public_objects_say_what_they_are_on_one_line(make_problem):
    dataset, stack = make_problem()
    fuser = dafm.MeanFusion()
    results = [fuser.fuse(stack), dafm.evaluate(fuser, stack)]
    compared = dafm.compare(stack, ["mean"], design=dafm.Folds(2), n_resamples=50)
    found = dafm.incremental(stack.select(["model-0"]), fuser, n_resamples=50)
    things = [dataset, stack, stack.gallery, stack.truth, *results, compared, found]
    for thing in (*things, dafm.PluginCatalog.discover(), dafm.Folds(3), dafm.Train(stack)):
        text = repr(thing)
        assert "\n" not in text
        assert len(text) < 200
        assert type(thing).__name__ in text
