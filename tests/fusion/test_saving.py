"""A saved fuser scores the same bits, and a folder can neither run code nor fool anyone."""

import json

import numpy as np
import pytest

from dafm_core.core_plugin import STATIC_FUSERS
from dafm_core.errors import DafmError, FuserError
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.saving import FORMAT_VERSION, load_fuser, save_fuser
from dafm_core.fusion.static import MeanFusion, WeightedFusion
from dafm_core.store.manifest import sealed


@pytest.fixture
def stack(make_problem):
    return make_problem()[1]


@pytest.fixture
def saved(stack, tmp_path):
    return save_fuser(WeightedFusion().fit(stack), tmp_path / "m", infos=STATIC_FUSERS)


def edit(folder, **facts):
    path = folder / "fuser.json"
    path.write_text(json.dumps(sealed(json.loads(path.read_text()) | facts)))


def test_round_trip_gives_the_same_bits(static_fuser, stack, tmp_path):
    fitted = static_fuser.fit(stack)
    loaded = load_fuser(
        save_fuser(fitted, tmp_path / "m", infos=STATIC_FUSERS), infos=STATIC_FUSERS
    )
    assert type(loaded) is type(fitted)
    assert loaded.params() == fitted.params()
    assert loaded.record_ == fitted.record_
    np.testing.assert_array_equal(loaded.fuse(stack).scores, fitted.fuse(stack).scores)


def test_a_folder_holds_json_and_safetensors_and_nothing_else(saved):
    assert {path.name for path in saved.iterdir()} == {"fuser.json", "weights.safetensors"}
    assert json.loads((saved / "fuser.json").read_text()).keys() == {
        "format_version",
        "fuser",
        "class",
        "params",
        "record",
        "choice",
        "values",
        "weights_sha256",
        "sha256",
    }


def test_what_is_not_fitted_or_not_registered_cannot_be_saved(stack, tmp_path):
    class Mine(Fuser):
        def _scorer(self, gallery):
            return lambda tile: tile[:, 0]

    with pytest.raises(FuserError, match="not fitted"):
        save_fuser(MeanFusion(), tmp_path / "m", infos=STATIC_FUSERS)
    with pytest.raises(FuserError, match="no registered fuser"):
        save_fuser(Mine().fit(stack), tmp_path / "m", infos=STATIC_FUSERS)
    assert not (tmp_path / "m").exists()


def test_a_missing_folder_says_what_was_expected(tmp_path):
    with pytest.raises(FuserError, match="written by dafm train"):
        load_fuser(tmp_path / "none", infos=STATIC_FUSERS)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"format_version": FORMAT_VERSION + 1}, "Upgrade dafm-core"),
        ({"format_version": 1}, "expected format 4, got 1. Train it again"),
        ({"fuser": "wieghted"}, "did you mean 'weighted'"),
        ({"fuser": "os:system"}, "not registered"),
        ({"class": "Popen"}, "expected a WeightedFusion"),
        ({"params": {"normalise": "zscore"}}, "cannot be read"),
        ({"params": {"normalize": "nonsense"}}, "unknown 'nonsense'|cannot be read"),
        ({"values": {}}, "cannot be read"),
        ({"values": {"normalize": "zsgore"}}, "cannot be read"),
        ({"record": None}, "cannot be read"),
        ({"record": {"providers": ["model-0"]}}, "cannot be read"),
    ],
)
def test_a_folder_that_was_changed_is_refused(saved, facts, message):
    edit(saved, **facts)
    with pytest.raises(DafmError, match=message):
        load_fuser(saved, infos=STATIC_FUSERS)


def test_an_edited_number_is_refused_but_in_older_formats(saved):
    path = saved / "fuser.json"
    facts = json.loads(path.read_text())
    changed = facts | {"record": facts["record"] | {"protocol": "another"}}
    path.write_text(json.dumps(changed))
    with pytest.raises(FuserError, match="not as it was written"):
        load_fuser(saved, infos=STATIC_FUSERS)
    path.write_text(json.dumps(changed | {"format_version": 3}))
    assert load_fuser(saved, infos=STATIC_FUSERS).record_.protocol == "another"


@pytest.mark.parametrize("name", ["fuser.json", "weights.safetensors"])
def test_a_truncated_file_is_refused(saved, name):
    path = saved / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FuserError, match=r"cannot be read|is not the one that fuser\.json"):
        load_fuser(saved, infos=STATIC_FUSERS)


def test_weights_of_another_fit_are_refused(saved, stack, tmp_path):
    half = stack.take_queries(stack.query_ids[:30])
    other = save_fuser(WeightedFusion().fit(half), tmp_path / "other", infos=STATIC_FUSERS)
    weights = (other / "weights.safetensors").read_bytes()
    assert weights != (saved / "weights.safetensors").read_bytes()
    (saved / "weights.safetensors").write_bytes(weights)
    with pytest.raises(FuserError, match=r"weights\.safetensors is not the one that fuser\.json"):
        load_fuser(saved, infos=STATIC_FUSERS)
