"""The square against the plain steps, in each of the orders that published models take."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dafm_core.wrapping.centre_square import CentreSquare


def palette(size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).quantize(5)


@pytest.mark.parametrize(
    ("offset", "left"), [("rounded", 2), ("floored", 1)], ids=["rounded", "floored"]
)
def test_the_offset_of_an_odd_difference(offset, left) -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 11, 3), np.uint8))
    expected = np.asarray(image)[:, left : left + 8].transpose(2, 0, 1)
    np.testing.assert_array_equal(CentreSquare(8, offset=offset)(image), expected)


def test_rgb_before_or_after_the_resize() -> None:
    image = palette((20, 10))
    before = image.convert("RGB").resize((10, 5), Image.Resampling.BICUBIC)
    after = image.resize((10, 5), Image.Resampling.BICUBIC).convert("RGB")
    for rgb, resized in (("first", before), ("last", after)):
        expected = np.asarray(resized)[:, 2:7].transpose(2, 0, 1)
        np.testing.assert_array_equal(CentreSquare(5, rgb=rgb)(image), expected)
    assert not np.array_equal(np.asarray(before), np.asarray(after))


def test_fingerprints_differ_and_those_of_older_stores_stay() -> None:
    assert CentreSquare(224).fingerprint == "RGB, then bicubic 224, centre crop"
    kinds = [CentreSquare(8), CentreSquare(8, rgb="last"), CentreSquare(8, offset="floored")]
    assert len({kind.fingerprint for kind in kinds}) == 3


def test_decoding_workers_import_no_framework() -> None:
    code = (
        "import sys, dafm_core.wrapping.centre_square, dafm_core.wrapping.target_pad;"
        "print(*{'torch', 'transformers'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
