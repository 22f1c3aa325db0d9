"""A damaged TIFF is one error: libtiff prints nothing, and no half of a picture passes as whole."""

import threading

import numpy as np
import pytest
from PIL import Image

from dafm_core.cli.main import main
from dafm_core.contract.items import ImageRef
from dafm_core.contract.tiff import noting_complaints
from dafm_core.errors import ImageError


@pytest.fixture
def save(tmp_path, rng):
    def run(compression, mode="RGB", change=lambda data: None):
        path = tmp_path / "x.tif"
        pixels = rng.integers(0, 255, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path, compression=compression)
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)
        return ImageRef("x", path)

    return run


def spoil_the_pixels(data):
    data[20:120] = bytes(50) + b"\xff" * 50


DAMAGED = {"group4": "1", "tiff_lzw": "RGB", "tiff_adobe_deflate": "RGB", "jpeg": "RGB"}


@pytest.mark.parametrize("compression", DAMAGED)
def test_damage_is_one_error_with_its_cause(save, capfd, compression):
    mode = DAMAGED[compression]
    assert save(compression, mode).open().size == (30, 40)
    with pytest.raises(ImageError, match=r"image 'x': .*x\.tif cannot be decoded \(\w.*\)\.$"):
        save(compression, mode, spoil_the_pixels).open()
    assert capfd.readouterr() == ("", "")


def test_what_is_noted_belongs_to_its_thread(save):
    image = save("group4", "1", spoil_the_pixels)

    def open_elsewhere():
        with pytest.raises(ImageError):
            image.open()

    with noting_complaints() as here:
        thread = threading.Thread(target=open_elsewhere)
        thread.start()
        thread.join()
        assert here == []
        with Image.open(image.path) as picture:
            picture.load()
        assert here
    assert save("group4", "1").open().size == (30, 40)


def break_the_directory(data):
    """Let the number of samples of a pixel be 2,048, of which Pillow logs an error."""
    at = data.index(b"\x15\x01\x03\x00")
    data[at + 8 : at + 10] = (2048).to_bytes(2, "little")


def lie_about_a_tag(data):
    """Let a field be longer than the file, of which Pillow warns."""
    at = data.index(b"\x02\x01\x03\x00")
    data[at + 4 : at + 8] = (10**6).to_bytes(4, "little")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("change", [break_the_directory, lie_about_a_tag])
def test_a_command_says_it_in_one_line(save, tmp_path, capfd, change):
    images = tmp_path / "set" / "images"
    images.mkdir(parents=True)
    save(None, change=change).path.rename(images / "x.tif")
    Image.new("RGB", (4, 4)).save(images / "y.png")
    queries = '{"query_id": "q", "reference": "x", "text": "t", "targets": ["y"]}\n'
    (tmp_path / "set" / "queries.jsonl").write_text(queries)
    words = ["score", f"folder:{tmp_path / 'set'}", "--provider", "scenes-shape"]
    assert main([*words, "--store", str(tmp_path / "store"), "-q"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    assert "image 'x'" in err
