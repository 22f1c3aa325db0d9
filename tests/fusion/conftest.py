"""Every static rule, as the registry makes it."""

import pytest

from dafm_core.catalog import resolve
from dafm_core.core_plugin import STATIC_FUSERS


@pytest.fixture(params=[info.name for info in STATIC_FUSERS])
def static_info(request):
    return next(info for info in STATIC_FUSERS if info.name == request.param)


@pytest.fixture
def static_fuser(static_info):
    return resolve(static_info.factory, where=static_info.name)()
