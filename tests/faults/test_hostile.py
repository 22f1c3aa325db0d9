"""Files made to harm: nothing is executed, nothing outside is read, nothing waits for ever."""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from dafm_core.contract.items import ImageRef
from dafm_core.datasets.folder import load
from dafm_core.errors import DafmError, DatasetError, ImageError, OptionError, StoreError
from dafm_core.formats.importing import import_scores
from dafm_core.search.sources import Images
from dafm_core.store.store import SimilarityStore

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\nshowpage\n%%EOF\n"


def test_postscript_called_png_starts_no_program(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(EPS)
    started = []
    monkeypatch.setattr("subprocess.Popen", lambda *a, **k: started.append(a))
    monkeypatch.setattr("subprocess.check_call", lambda *a, **k: started.append(a))
    with pytest.raises(ImageError, match="is not an image"):
        ImageRef("a", path).open()
    assert started == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_usual_formats_are_read(tmp_path, kind):
    path = tmp_path / "a"
    Image.new("L", (3, 2)).save(path, format=kind)
    assert ImageRef("a", path).open().size == (3, 2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path, score):
    pipe = tmp_path / "a.png"
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="is no file"):
        ImageRef("a", pipe).open()
    score(tmp_path / "store")
    store = SimilarityStore.open(tmp_path / "store")
    for suffix in (".npy", ".json", ".parquet", ".trec"):
        os.mkfifo(tmp_path / f"m{suffix}")
        with pytest.raises(DafmError, match="no such file"):
            import_scores(store, "mine", tmp_path / f"m{suffix}")


def bomb(path, shape):
    """Write an array of a few bytes whose header declares ``shape``."""
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(64))


@pytest.mark.parametrize("shape", [(12, 10**12), (10**9, 10**9), (12, 9)])
def test_headers_that_declare_more_than_there_is(tmp_path, score, shape):
    score(tmp_path / "store")
    store = SimilarityStore.open(tmp_path / "store")
    bomb(tmp_path / "m.npy", shape)
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.write(tmp_path / "m.npy", "scores.npy")
    for suffix in (".npy", ".npz"):
        with pytest.raises(DafmError):
            import_scores(store, "mine", tmp_path / f"m{suffix}")
    assert store.providers == ("dot",)
    shutil.copy(tmp_path / "m.npy", tmp_path / "store" / "dot" / "scores.npy")
    with pytest.raises(StoreError):
        store.stack()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "\0", '{"format": 1e999}'])
@pytest.mark.parametrize("name", ["store.json", "dot/passport.json"])
def test_deep_or_odd_json_is_one_line(tmp_path, score, content, name):
    score(tmp_path / "store")
    (tmp_path / "store" / name).write_text(content)
    with pytest.raises(StoreError) as caught:
        SimilarityStore.open(tmp_path / "store").stack()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("image", ["../secret", "/etc/passwd", "..\\secret", "a/../../secret"])
def test_ids_that_lead_out_of_a_folder_open_nothing_there(tmp_path, image):
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    Image.new("L", (2, 2)).save(tmp_path / "secret.png")
    Image.new("L", (2, 2)).save(folder / "images" / "a.png")
    query = {"query_id": "q", "reference": image, "text": "t", "targets": ["a"]}
    (folder / "queries.jsonl").write_text(json.dumps(query))
    try:
        path = load(folder).image(image).path
    except DafmError:
        return
    assert path is None or path.resolve().is_relative_to(folder.resolve())


def test_a_link_out_of_the_folder_shows_no_image_of_this_machine(tmp_path):
    images = tmp_path / "set" / "images"
    (images / "sub").mkdir(parents=True)
    Image.new("L", (2, 2)).save(tmp_path / "secret.png")
    Image.new("L", (2, 2)).save(images / "a.png")
    (images / "sub" / "b.png").symlink_to("../a.png")
    query = {"query_id": "q", "reference": "a", "text": "t", "targets": ["sub/b"]}
    (tmp_path / "set" / "queries.jsonl").write_text(json.dumps(query))
    assert load(tmp_path / "set").gallery_ids == ("a", "sub/b"), "links inside are images"
    (tmp_path / "link").symlink_to(images)
    assert Images.of_folder(tmp_path / "link").ids == ("a", "sub/b"), "the folder may be one"
    (images / "c.png").symlink_to(tmp_path / "secret.png")
    for read in (load, Images.of_folder):
        with pytest.raises(DatasetError, match=r"c\.png: .* a link to .*secret\.png"):
            read(tmp_path / "set")
        assert read(tmp_path / "set", links="anywhere")
    with pytest.raises(OptionError, match="got 'inside-out'"):
        load(tmp_path / "set", links="inside-out")
    with pytest.raises(OptionError, match="of a folder without queries"):
        Images.open(str(images), options={"split": "x"})
