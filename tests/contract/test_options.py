"""Options as one dataclass: given flat, checked, described, and flat again."""

from dataclasses import FrozenInstanceError, dataclass
from typing import Literal

import pytest

from dafm_core.contract.options import Options, option
from dafm_core.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Training(Options):
    n_epochs: int = option(30, "passes over the examples", at_least=0)
    rate: float = option(0.1, "of each step", above=0)
    rule: Literal["fixed", "falling"] = option("fixed", "how the rate goes on")


@dataclass(frozen=True, kw_only=True)
class Mine(Options):
    owner = "mine"

    share: float = option(0.5, "of the examples", at_least=0, at_most=1)
    name: str = option("x", "any text")
    strict: bool = option(True, "yes or no")
    training: Training = Training(n_epochs=4)


DEFAULTS = {
    "share": 0.5,
    "name": "x",
    "strict": True,
    "n_epochs": 4,
    "rate": 0.1,
    "rule": "fixed",
}


def test_options_are_flat_whether_nested_or_not():
    assert Mine().flat() == DEFAULTS
    changed = {"share": 0.25, "rule": "falling", "n_epochs": 9}
    options = Mine.of(changed)
    assert options.flat() == DEFAULTS | changed
    assert options.training == Training(n_epochs=9, rule="falling")
    assert Mine.of(options.flat()) == options


def test_what_is_not_given_keeps_the_default_of_its_owner():
    assert Mine.of({"rate": 1.0}).training.n_epochs == 4
    assert Training.of({"rate": 1.0}).n_epochs == 30


def test_a_subclass_changes_a_default_and_keeps_the_rest():
    @dataclass(frozen=True, kw_only=True)
    class Other(Mine):
        owner = "other"

        share: float = option(1.0, "of the examples", at_most=2)

    assert Other().flat() == DEFAULTS | {"share": 1.0}
    assert Other.of({"share": 1.5}).share == 1.5
    with pytest.raises(OptionError, match="other: expected share <= 2, got 3"):
        Other.of({"share": 3})


def test_descriptions_say_name_kind_default_and_choices():
    described = {info.name: info for info in Mine.described()}
    assert {name: info.default for name, info in described.items()} == DEFAULTS
    assert {name: info.kind for name, info in described.items()} == {
        "share": "float",
        "name": "str",
        "strict": "bool",
        "n_epochs": "int",
        "rate": "float",
        "rule": "str",
    }
    assert described["rule"].choices == ("fixed", "falling")
    assert described["name"].choices == ()
    assert described["n_epochs"].summary == "passes over the examples"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shar": 0.1}, r"mine: unknown option 'shar'; did you mean 'share'\?"),
        ({"n_epoch": 1}, r"mine: unknown option 'n_epoch'; did you mean 'n_epochs'\?"),
        ({"training": Training()}, "mine: unknown option 'training'"),
        ({"share": -0.1}, "mine: expected share >= 0 and <= 1, got -0.1"),
        ({"share": float("nan")}, "mine: expected share >= 0 and <= 1, got nan"),
        ({"share": True}, "mine: expected share of type float, got True"),
        ({"share": "1"}, "mine: expected share of type float, got '1'"),
        ({"name": 3}, "mine: expected name of type str, got 3"),
        ({"strict": 1}, "mine: expected strict of type bool, got 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_owners_name(values, message):
    with pytest.raises(OptionError, match=message):
        Mine.of(values)


def test_options_do_not_change():
    with pytest.raises(FrozenInstanceError):
        Mine().share = 0.1


def test_a_whole_number_is_a_number():
    assert Mine.of({"share": 1}).share == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_epochs": -1}, "^mine: expected n_epochs >= 0, got -1"),
        ({"n_epochs": 2.0}, "^mine: expected n_epochs of type int, got 2.0"),
        ({"rate": 0.0}, "^mine: expected rate > 0, got 0.0"),
        ({"rule": "fixd"}, r"^mine: no rule 'fixd'; did you mean 'fixed'\?"),
    ],
)
def test_nested_options_that_do_not_fit_are_refused_in_the_owners_name(values, message):
    with pytest.raises(OptionError, match=message):
        Mine.of(values)
