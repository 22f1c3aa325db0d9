"""Settings are checked by name, batches cover everything once, repeated images are found."""

from typing import Any

import numpy as np
import pytest

from dafm_core.contract.items import ImageRef
from dafm_core.errors import OptionError
from dafm_core.testing.device import DEVICE, here
from dafm_core.wrapping.inference import Settings, check_heads, rows_by_image
from dafm_core.wrapping.target_pad import MEAN, STD

GOOD: dict[str, Any] = {"device": DEVICE, "dtype": "float32", "batch_size": 3, "workers": 0}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("device", "tpu9"),
        ("device", "meta:x"),
        ("dtype", "int8"),
        ("batch_size", 0),
        ("workers", -1),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(option: str, value: object) -> None:
    with pytest.raises(OptionError, match=rf"^sprc: option '{option}'") as error:
        Settings.checked("sprc", **GOOD | {option: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("n_heads", [-1, 0, 5])
def test_heads_must_divide_the_width(n_heads: int) -> None:
    check_heads(4, 12, option="vision_heads", where="sprc")
    with pytest.raises(OptionError, match=rf"'vision_heads'.* width 12, got {n_heads}"):
        check_heads(n_heads, 12, option="vision_heads", where="sprc")


@pytest.mark.parametrize("n_items", [0, 1, 3, 7])
def test_batches_cover_everything_once(n_items: int) -> None:
    settings = Settings.checked("sprc", **GOOD)
    parts = [range(n_items)[part] for part in settings.batches(n_items)]
    assert [item for part in parts for item in part] == list(range(n_items))
    assert all(1 <= len(part) <= 3 for part in parts)


def test_normalisation_against_float64() -> None:
    settings = Settings.checked("sprc", **GOOD)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), np.uint8)
    mean, std = (np.array(c)[:, None, None] for c in (MEAN, STD))
    got = here(settings.normalised(pixels))
    np.testing.assert_allclose(got, (pixels / 255 - mean) / std, atol=1e-6)
    assert settings.dtype_name == "float32"


def test_rows_by_image() -> None:
    a, b = ImageRef("a"), ImageRef("b")
    assert rows_by_image([b, a, b]) == {b: [0, 2], a: [1]}
    assert list(rows_by_image([b, a, b])) == [b, a]
