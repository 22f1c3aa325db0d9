"""Lists of channel families as a user writes them."""

import pytest

from dafm_core.errors import OptionError
from dafm_core.fusion.channels.families import (
    BANK_FAMILIES,
    BANK_ONLY_FAMILIES,
    DEFAULT_INPUTS,
    EVIDENCE,
    FAMILIES,
    NEIGHBOUR_FAMILIES,
    parse_families,
)


def test_order_and_repetition_in_a_list_do_not_matter():
    assert parse_families("ranks, rows,ranks", where="x") == ("rows", "ranks")
    assert parse_families(",".join(reversed(FAMILIES)), where="x") == tuple(FAMILIES)


def test_every_list_of_families_names_families():
    for names in (BANK_FAMILIES, BANK_ONLY_FAMILIES, NEIGHBOUR_FAMILIES, EVIDENCE):
        assert set(names) <= set(FAMILIES)
    assert BANK_ONLY_FAMILIES < BANK_FAMILIES
    assert ",".join(parse_families(DEFAULT_INPUTS, where="x")) == DEFAULT_INPUTS


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("rows,colums", r"LightFusion: no input 'colums'; did you mean 'columns'\?"),
        (" , ", "LightFusion: expected at least one input"),
    ],
)
def test_unknown_or_no_inputs_are_refused(inputs, message):
    with pytest.raises(OptionError, match=message):
        parse_families(inputs, where="LightFusion")
