"""Geometry, modes and refusals of TargetPad; the plugins compare it with golden pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dafm_core.errors import ImageError
from dafm_core.wrapping import target_pad
from dafm_core.wrapping.target_pad import TargetPad, resize_and_crop, rgb_bytes


def ramp(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width, 3)
    return Image.fromarray(np.random.default_rng(0).integers(1, 255, shape, np.uint8)).convert(mode)


@pytest.mark.parametrize("size", [(20, 20), (24, 20), (1, 50), (50, 1), (37, 11), (300, 7)])
def test_every_shape_becomes_the_square(size: tuple[int, int]) -> None:
    pixels = TargetPad(14)(ramp(*size))
    assert pixels.shape == (3, 14, 14)
    assert pixels.dtype == np.uint8


def test_a_square_of_the_right_size_is_untouched() -> None:
    image = ramp(14, 14)
    np.testing.assert_array_equal(TargetPad(14)(image), np.asarray(image).transpose(2, 0, 1))


def test_below_the_ratio_nothing_is_padded_and_above_it_black_is_added() -> None:
    white = Image.new("RGB", (124, 100), "white"), Image.new("RGB", (200, 100), "white")
    slim, wide = (TargetPad(20)(image) for image in white)
    assert slim.min() == 255
    assert wide[:, 0].max() < 128  # padded above ...
    assert wide[:, -1].max() < 128  # ... and below
    assert wide[:, 10].min() == 255


def test_padding_of_a_palette_image_is_its_first_colour() -> None:
    image = Image.new("P", (40, 10), 1)
    image.putpalette([200, 10, 20, 0, 0, 255])
    pixels = TargetPad(16)(image)
    np.testing.assert_array_equal(pixels[:, 0, 0], [200, 10, 20])
    np.testing.assert_array_equal(pixels[:, 8, 8], [0, 0, 255])


def test_padding_of_inks_is_white() -> None:
    pixels = TargetPad(16)(Image.new("CMYK", (40, 10), (0, 255, 255, 0)))
    np.testing.assert_array_equal(pixels[:, 0, 0], [255, 255, 255])


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = ramp(16, 16)
    image.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        np.testing.assert_array_equal(TargetPad(8)(turned), TargetPad(8)(image))


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_images_are_refused_by_name(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    Image.new(mode, (9, 9)).save(path)
    with Image.open(path) as image, pytest.raises(ImageError, match=r"deep\.tif.*8 bits"):
        TargetPad(8)(image)


def test_a_strip_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(ImageError, match="1 x 50000 pixels, a strip too long"):
        TargetPad(8)(Image.new("1", (1, 50_000)))


def test_deep_images_saturate_where_that_is_wanted() -> None:
    image = Image.fromarray(np.full((9, 9), 4000, np.uint16))
    assert TargetPad(8, deep="saturate")(image).min() == 255


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (2, 301), (301, 2), (3, 640), (640, 3)])
def test_a_strip_is_cut_to_the_pixels_of_the_whole(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = ramp(*size)
    whole = rgb_bytes(resize_and_crop(image, 16)).astype(int)
    monkeypatch.setattr(target_pad, "MAX_WHOLE", 1000)
    cut = rgb_bytes(resize_and_crop(image, 16)).astype(int)
    assert np.abs(cut - whole).max() <= (3 in size)  # exact where the long side is not truncated


def test_transparent_palette_entries_are_taken_as_colours_without_a_warning(tmp_path: Path) -> None:
    image = ramp(20, 20).convert("P")
    image.save(tmp_path / "p.png", transparency=bytes([0, 128, 255] * 20))
    with Image.open(tmp_path / "p.png") as opened:
        np.testing.assert_array_equal(TargetPad(8)(opened), TargetPad(8)(image))
        assert "transparency" in opened.info
