"""The battery itself: a true description passes, and every check has one that it catches."""

from dataclasses import dataclass, replace

import pytest

from dafm_core.contract.descriptions import DatasetInfo, FuserInfo, Option, ProviderInfo
from dafm_core.contract.options import Options, option
from dafm_core.testing import check_description, description_checks


def load(*, checkpoint, scale=1.0, half=False, device=None):
    """Stand for a factory: never called here."""


def load_anything(**options):
    """Stand for a factory that hides what it takes."""


OPTIONS = (
    Option(name="checkpoint", summary="the file", kind="path", required=True),
    Option(name="scale", summary="of the text", kind="float", default=1.0),
    Option(name="half", summary="use float16", kind="bool", default=False),
    Option(name="device", summary="where to compute"),
)
REPORTED = {"cirr-val": {"recall@10": 84.8, "rmean": 80.5}}
SOUND = ProviderInfo(name="sound", summary="fine", factory=load, options=OPTIONS, reported=REPORTED)


def with_option(**changes):
    """Return the sound description with its second option changed."""
    checkpoint, scale, *rest = OPTIONS
    return replace(SOUND, options=(checkpoint, replace(scale, **changes), *rest))


CAUGHT = {
    "no summary": (replace(SOUND, summary=" "), "one_line"),
    "summary of two lines": (with_option(summary="of\nthe text"), "one_line"),
    "unknown option": (with_option(name="scales"), "options_are_keywords"),
    "option left out": (replace(SOUND, options=OPTIONS[:-1]), "keywords_are_described"),
    "keywords not stated": (replace(SOUND, factory=load_anything), "options_are_keywords"),
    "factory that is not there": (replace(SOUND, factory="nowhere:load"), "options_are_keywords"),
    "other default": (with_option(default=0.5), "defaults_agree"),
    "not required": (
        replace(SOUND, options=(replace(OPTIONS[0], required=False), *OPTIONS[1:])),
        "defaults_agree",
    ),
    "reported metric that is not known": (
        replace(SOUND, reported={"p": {"recal@10": 1.0}}),
        "reported_can_be_measured",
    ),
    "reported metric as tables print it": (
        replace(SOUND, reported={"p": {"R@10": 1.0}}),
        "reported_can_be_measured",
    ),
    "reported share": (
        replace(SOUND, reported={"p": {"recall@10": 848.0}}),
        "reported_can_be_measured",
    ),
    "default of another kind": (with_option(kind="int"), "defaults_can_be_set"),
    "default that is no choice": (with_option(choices=("2.0",)), "defaults_can_be_set"),
}


def failed(info):
    return {result.name for result in check_description(info) if result.outcome == "failed"}


@pytest.mark.parametrize("check", description_checks(), ids=str)
def test_a_true_description_passes(check):
    check(SOUND)


@pytest.mark.parametrize(("info", "name"), CAUGHT.values(), ids=CAUGHT)
def test_a_wrong_description_is_caught(info, name):
    assert name in failed(info)


def test_every_check_catches_something():
    assert {name for _, name in CAUGHT.values()} == {check.name for check in description_checks()}


def test_a_dataset_takes_path_and_split_besides_its_options():
    def open_dataset(path, *, split, seed=0):
        """Stand for a reader."""

    seed = Option(name="seed", summary="of the draw", kind="int", default=0)
    info = DatasetInfo(name="there", summary="fine", factory=open_dataset, options=(seed,))
    assert failed(info) == set()
    assert failed(replace(info, options=())) == {"keywords_are_described"}


def test_options_may_be_the_fields_of_a_class():
    @dataclass(frozen=True, kw_only=True)
    class Chosen(Options):
        n_trees: int = option(3, "boosting rounds")
        seed: int = option(0, "of every draw")

    class Trees:
        options_type = Chosen

        def __init__(self, **options):
            self.options = Chosen.of(options)

    info = FuserInfo(name="trees", summary="fine", factory=Trees, kind="learned")
    described = Chosen.described()
    assert failed(replace(info, options=described)) == set()
    assert failed(replace(info, options=described[:1])) == {"keywords_are_described"}
    assert failed(replace(info, options=(*described, OPTIONS[1]))) == {"options_are_keywords"}
    other = (replace(described[0], default=4), described[1])
    assert failed(replace(info, options=other)) == {"defaults_agree"}


def test_a_fuser_may_take_what_only_python_sets():
    info = FuserInfo(name="rule", summary="fine", factory=load, kind="static", options=OPTIONS[:1])
    assert failed(info) == set()
