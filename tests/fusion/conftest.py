"""Every static rule, as the registry makes it."""

import pytest

from dafm_core.fusion.registry import STATIC_FUSERS
from dafm_core.plugins import resolve


@pytest.fixture(params=[info.name for info in STATIC_FUSERS])
def static_info(request):
    return next(info for info in STATIC_FUSERS if info.name == request.param)


@pytest.fixture
def static_fuser(static_info):
    return resolve(static_info.factory, where=static_info.name)()
