"""The order of channels, against names written out one by one."""

import numpy as np
import pytest

from dafm_core.fusion.channels.layout import Layout

LAYOUT = Layout(("rows", "ranks", "reverse"), ("a", "b"))
NAMES = [(family, provider) for family in LAYOUT.families for provider in LAYOUT.providers]


def test_families_stand_outside_and_providers_inside():
    assert LAYOUT.n_channels == len(NAMES)
    for chosen in ({"ranks"}, {"rows", "reverse"}, set()):
        assert LAYOUT.of_families(chosen).tolist() == [family in chosen for family, _ in NAMES]
    for mask in ([True, False], [False, True], [True, True]):
        providers = {name for name, is_in in zip("ab", mask, strict=True) if is_in}
        expected = [provider in providers for _, provider in NAMES]
        assert LAYOUT.of_providers(np.array(mask)).tolist() == expected


@pytest.mark.parametrize(
    ("families", "evidence"),
    [
        (("rows", "restandardized", "ranks"), "restandardized"),
        (("rows", "columns"), "columns"),
        (("minmax", "ranks"), "minmax"),
        (("neighbours", "reverse"), "neighbours"),  # nothing better: the first
    ],
)
def test_a_fusion_that_has_learned_nothing_averages_the_evidence(families, evidence):
    layout = Layout(families, ("a", "b", "c", "d"))
    weights = layout.plain_mean()
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_array_equal(weights > 0, layout.of_families({evidence}))
