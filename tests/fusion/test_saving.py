"""A saved fuser scores the same bits, and a folder can neither run code nor fool anyone."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dafm_core.core_plugin import STATIC_FUSERS
from dafm_core.errors import AlignmentError, DafmError, FuserError
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.fusion.static import MeanFusion, WeightedFusion


@pytest.fixture
def problem(make_problem):
    return make_problem()


@pytest.fixture
def saved(problem, tmp_path):
    dataset, stack = problem
    return save_fuser(WeightedFusion().fit(stack), tmp_path / "m", infos=STATIC_FUSERS)


def edit(folder, **facts):
    path = folder / "fuser.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_round_trip_gives_the_same_bits(static_fuser, problem, tmp_path):
    dataset, stack = problem
    fitted = static_fuser.fit(stack)
    loaded = load_fuser(
        save_fuser(fitted, tmp_path / "m", infos=STATIC_FUSERS), infos=STATIC_FUSERS
    )
    assert type(loaded) is type(fitted)
    assert loaded.params() == fitted.params()
    assert loaded.record_.query_ids == fitted.record_.query_ids
    np.testing.assert_array_equal(loaded.fuse(stack).scores, fitted.fuse(stack).scores)


def test_what_is_not_fitted_or_not_registered_cannot_be_saved(problem, tmp_path):
    class Mine(Fuser):
        def scorer(self, stack):
            return lambda tile: tile[:, 0]

    dataset, stack = problem
    with pytest.raises(FuserError, match="not fitted"):
        save_fuser(MeanFusion(), tmp_path / "m", infos=STATIC_FUSERS)
    with pytest.raises(FuserError, match="no registered fuser"):
        save_fuser(Mine().fit(stack), tmp_path / "m", infos=STATIC_FUSERS)


def test_a_missing_folder_says_what_was_expected(tmp_path):
    with pytest.raises(FuserError, match="written by dafm train"):
        load_fuser(tmp_path / "none", infos=STATIC_FUSERS)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"format_version": 2}, "Upgrade dafm-core"),
        ({"fuser": "wieghted"}, "did you mean 'weighted'"),
        ({"fuser": "os:system"}, "not registered"),
        ({"class": "Popen"}, "expected a WeightedFusion"),
        ({"params": {"normalise": "zscore"}}, "cannot be read"),
        ({"params": {"normalize": "nonsense"}}, "unknown 'nonsense'|cannot be read"),
        ({"values": {}}, "cannot be read"),
        ({"provider_names": None}, "cannot be read"),
    ],
)
def test_a_folder_that_was_changed_is_refused(saved, facts, message):
    edit(saved, **facts)
    with pytest.raises(DafmError, match=message):
        load_fuser(saved, infos=STATIC_FUSERS)


@pytest.mark.parametrize("name", ["fuser.json", "weights.safetensors"])
def test_a_truncated_file_is_refused(saved, name):
    path = saved / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FuserError, match="cannot be read"):
        load_fuser(saved, infos=STATIC_FUSERS)


def test_another_checkpoint_is_refused_when_used(problem, tmp_path):
    dataset, stack = problem
    passports = {name: {"fingerprint": {"checkpoint_sha256": "aa"}} for name in stack.names}
    stack = replace(stack, passports=passports)
    folder = save_fuser(MeanFusion().fit(stack), tmp_path / "m", infos=STATIC_FUSERS)
    loaded = load_fuser(folder, infos=STATIC_FUSERS)
    loaded.fuse(stack)
    changed = passports | {"model-1": {"fingerprint": {"checkpoint_sha256": "bb"}}}
    with pytest.raises(AlignmentError, match=r"'model-1': expected checkpoint_sha256 'aa'.*'bb'"):
        loaded.fuse(replace(stack, passports=changed))
    with pytest.raises(AlignmentError, match="expected providers"):
        loaded.fuse(stack.select(["model-0"]))
