"""Images open lazily, fail by name, and decode the same in this process and in workers."""

import numpy as np
import pytest
from PIL import Image

from dafm_core.contract.items import ImageRef
from dafm_core.errors import ImageError
from dafm_core.wrapping.decoding import ImageDecoder


def to_array(image):
    return np.asarray(image.convert("RGB"))


@pytest.fixture
def images(tmp_path):
    refs = []
    for i in range(5):
        path = tmp_path / f"{i}.png"
        Image.new("RGB", (3, 2), (i, 2 * i, 3 * i)).save(path)
        refs.append(ImageRef(str(i), path))
    return refs


def test_arrays_come_in_the_order_given(images):
    arrays = ImageDecoder(to_array)(images)
    assert arrays.shape == (5, 2, 3, 3)
    assert arrays[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_workers_give_the_same_arrays(images):
    decoder = ImageDecoder(np.asarray, workers=2)
    try:
        np.testing.assert_array_equal(decoder(images), ImageDecoder(np.asarray)(images))
    finally:
        decoder.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        (b"plain text", "is not an image"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "image"),
    ],
)
def test_a_file_that_is_no_image_is_named(tmp_path, content, said):
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=f"image 'x': .*{said}"):
        ImageRef("x", path).open()


def test_a_truncated_image_is_named(tmp_path, rng):
    path = tmp_path / "x.png"
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ImageError, match=r"image 'x': .*cannot be decoded"):
        ImageRef("x", path).open()


def test_an_image_without_folder_says_so():
    with pytest.raises(ImageError, match="no file of it is known"):
        ImageRef("x").open()
