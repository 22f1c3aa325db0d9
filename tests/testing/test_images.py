"""A provider that scores a broken picture, or hides which one it was, fails its check."""

import numpy as np
import pytest

from dafm_core.errors import ProviderError
from dafm_core.testing import CheckFailed, NotApplicable, ProviderSample
from dafm_core.testing.images import check_broken_images


def brightness(images):
    return np.array([np.asarray(image.open().convert("L")).mean() for image in images])


def ids_only(images):
    return np.array([float(len(image.id)) for image in images])


def swallowing(images):
    try:
        return brightness(images)
    except Exception:
        return np.zeros(len(images))


def crashing(images):
    return np.array([image.path.stat().st_size / len(image.path.read_bytes()) for image in images])


def nameless(images):
    try:
        return brightness(images)
    except Exception:
        raise ProviderError("some picture is broken.") from None


@pytest.fixture
def gallery(tmp_path):
    return ProviderSample.draw(tmp_path).gallery


def test_an_error_that_names_the_picture_passes(gallery):
    check_broken_images(brightness, gallery)


def test_who_does_not_look_is_left_alone(gallery):
    with pytest.raises(NotApplicable):
        check_broken_images(ids_only, gallery)


@pytest.mark.parametrize(
    ("score", "message"),
    [(swallowing, "was scored"), (crashing, "no DafmError"), (nameless, "does not name")],
)
def test_all_else_fails(score, message, gallery):
    with pytest.raises(CheckFailed, match=message):
        check_broken_images(score, gallery)
