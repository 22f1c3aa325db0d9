"""The battery that core ships: the laws every fuser holds to."""

import pytest
from dafm_plugin_lambdamart.fuser import LambdaMartFusion

from dafm_core.testing import FuserSubject, fuser_checks


@pytest.fixture(scope="module")
def subject():
    return FuserSubject(LambdaMartFusion(n_trees=20, min_leaf=5))


@pytest.mark.parametrize("check", fuser_checks(), ids=str)
def test_conformance(check, subject):
    check(subject)
