"""Options that no fusion can mean: one line each, and no NaN where a range allows what diverges."""

import numpy as np
import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.errors import FuserError, OptionError

CATALOG = PluginCatalog.discover()
NUMBERS = [
    (name, option)
    for name, info in CATALOG.fusers.items()
    for option in info.options
    if option.kind in ("int", "float")
]


@pytest.mark.parametrize(("name", "option"), NUMBERS, ids=lambda v: getattr(v, "name", v))
def test_a_number_that_is_none_or_beyond_eight_bytes_is_refused(name, option):
    values = ["nan", "inf", "-inf", "1e999"] if option.kind == "float" else [str(2**63)]
    for value in [*values, "-1"] if option.name == "seed" else values:
        with pytest.raises(OptionError, match=rf"expected .*\b{option.name}\b"):
            CATALOG.load_fuser(name, {option.name: value})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("light-paper", {"temperature": 1e-300, "n_steps": 3}),
        ("light-paper", {"learning_rate": 100.0, "weight_decay": 100.0, "n_steps": 40}),
        ("light", {"temperature": 1e-300, "n_seeds": 1, "n_epochs": 2}),
    ],
)
def test_training_that_diverges_says_so_or_stays_finite(make_problem, name, options):
    _, stack = make_problem(n_queries=240, n_gallery=20)
    fuser = CATALOG.load_fuser(name, {key: str(value) for key, value in options.items()})
    try:
        fuser.fit(stack)
    except FuserError as raised:
        error = str(raised)
    else:
        assert not np.isnan(fuser.fuse(stack).scores).any()
        return
    assert "training diverged" in error
    assert not fuser.is_fitted
