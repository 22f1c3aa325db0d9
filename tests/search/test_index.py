"""Indexes on disk: whole or not there, never encoded twice, cut for good."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from PIL import Image

from dafm_core.errors import AlignmentError, DatasetError, ImageError, OptionError, StoreError
from dafm_core.scoring.neighbours import nearest_neighbours
from dafm_core.search import checking, state
from dafm_core.search.building import add_images, build_index, remove_images
from dafm_core.search.index import GalleryIndex
from dafm_core.search.sources import Images
from dafm_core.store import checked

from .conftest import Dot, make_dataset, models


@pytest.fixture
def path(tmp_path, gallery):
    build_index(tmp_path / "index", gallery, models(), bank=gallery)
    return tmp_path / "index"


def test_what_an_index_keeps(path, gallery):
    index = GalleryIndex.open(path)
    assert index.ids == gallery.gallery_ids
    assert index.names == ("far", "near", "skewed", "words")
    assert [index.entries[name].kind for name in index.names] == ["encoding"] * 3 + ["row"]
    expected = Dot(1).encode_gallery(gallery.gallery_images())
    np.testing.assert_array_equal(index.features("near").whole(), expected)
    np.testing.assert_array_equal(index.neighbours["near"], nearest_neighbours(expected))
    assert index.bank_ids == gallery.query_ids
    assert index.bank.covers(index.gallery)
    index.verify()


def test_half_precision_is_kept_as_such(tmp_path, gallery):
    index = build_index(tmp_path / "index", gallery, models(), dtype="float16")
    expected = Dot(1).encode_gallery(gallery.gallery_images()).astype(np.float16)
    np.testing.assert_array_equal(index.features("near").whole(), expected.astype(np.float32))


def test_a_build_that_fails_goes_on_where_it_was(tmp_path, gallery):
    class Dies(Dot):
        def encode_gallery(self, images):
            if self.n_encoded >= 512:
                raise RuntimeError("power cut")
            return super().encode_gallery(images)

    many = make_dataset(n_images=700)
    with pytest.raises(Exception, match="power cut"):
        build_index(tmp_path / "index", many, {"near": Dies(1)})
    with pytest.raises(StoreError, match="not a gallery index"):
        GalleryIndex.open(tmp_path / "index")
    again = Dot(1)
    index = build_index(tmp_path / "index", many, {"near": again})
    assert again.n_encoded == 700 - 512
    index.verify()


@pytest.mark.parametrize("where", ["write_table", "write_neighbours", "write_bank", "hashes"])
def test_an_index_that_is_not_changed_to_the_end_is_what_it_was(path, monkeypatch, where):
    def cut(*args, **kwargs):
        raise KeyboardInterrupt

    before = (path / "index.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(state, where, cut)
        with pytest.raises(KeyboardInterrupt):
            add_images(path, make_dataset(n_images=80), providers=models())
    assert (path / "index.json").read_bytes() == before
    index = GalleryIndex.open(path)
    index.verify()
    assert index.n_images == 60
    grown = add_images(path, make_dataset(n_images=80), providers=models())
    grown.verify()
    assert grown.n_images == 80


def test_added_images_alone_are_encoded(path):
    used = models()
    index = add_images(path, make_dataset(n_images=75), providers=used)
    assert used["near"].n_encoded == 15
    assert index.manifest.part_rows == (60, 15)
    whole = Dot(1).encode_gallery(make_dataset(n_images=75).gallery_images())
    np.testing.assert_array_equal(index.features("near").whole(), whole)
    columns = np.array([70, 3, 61])
    np.testing.assert_array_equal(index.features("near").take(columns), whole[columns])
    np.testing.assert_array_equal(index.neighbours["near"], nearest_neighbours(whole))
    with pytest.raises(DatasetError, match="every image is in"):
        add_images(path, make_dataset(n_images=75), providers=models())


def test_shares_encoded_apart_are_joined_without_encoding_again(tmp_path, gallery):
    """As on two machines; where the model is another one, images are encoded again."""
    dots, ids = {"near": Dot(1)}, gallery.gallery_ids
    whole = build_index(tmp_path / "whole", gallery, dots)
    build_index(tmp_path / "joined", gallery.take_gallery(ids[:40]), dots)
    build_index(tmp_path / "share", gallery.take_gallery(ids[40:]), dots)
    used = {"near": Dot(1)}
    joined = add_images(tmp_path / "joined", Images.open(str(tmp_path / "share")), providers=used)
    assert used["near"].n_encoded == 0
    assert joined.ids == whole.ids
    features = [index.features("near").whole() for index in (joined, whole)]
    np.testing.assert_array_equal(*features)
    joined.verify()
    other = {"near": Dot(2)}
    build_index(tmp_path / "other", Images.open(str(tmp_path / "share")), other)
    assert other["near"].n_encoded == len(ids) - 40


def test_removed_images_never_come_back(path, gallery):
    add_images(path, make_dataset(n_images=75), providers=models())
    gone = ["img000", "img059", "img070"]
    index = remove_images(path, gone, providers=models())
    assert not set(gone) & set(index.ids)
    kept = [i for i in make_dataset(n_images=75).gallery_ids if i not in gone]
    assert list(index.ids) == kept
    images = [i for i in make_dataset(n_images=75).gallery_images() if i.id in set(kept)]
    np.testing.assert_array_equal(index.features("near").whole(), Dot(1).encode_gallery(images))
    again = add_images(path, make_dataset(n_images=80), providers=models())
    assert again.n_images == 80  # removed ones that are added again are encoded again
    again.verify()
    with pytest.raises(DatasetError, match="no image 'img999'"):
        remove_images(path, ["img999"], providers=models())
    with pytest.raises(DatasetError, match="expected an image to be left"):
        remove_images(path, list(again.ids), providers=models())


def test_an_index_open_elsewhere_stays_what_it_was(path):
    index = GalleryIndex.open(path)
    features, bank = index.features("near"), index.bank
    before = features.whole().copy(), bank.statistics.mean.copy()
    add_images(path, make_dataset(n_images=75), providers=models())
    np.testing.assert_array_equal(features.whole(), before[0])
    np.testing.assert_array_equal(bank.statistics.mean, before[1])


@pytest.mark.parametrize("name", ["near/part-0.npy", "near/bank.npy", "bank.parquet"])
def test_a_flipped_bit_is_found_before_anything_is_made_of_it(path, gallery, name):
    build_index(path.with_name("banked"), gallery, models(), bank=gallery)
    file = path.with_name("banked") / name
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(StoreError, match=f"{file.name}: does not match its checksum"):
        GalleryIndex.open(path.with_name("banked"))
    with pytest.raises(StoreError, match=f"{file.name}: does not match its checksum"):
        add_images(path.with_name("banked"), make_dataset(n_images=61), providers=models())
    assert GalleryIndex.open(path.with_name("banked"), verify=False).n_images == 60


def test_what_was_checked_or_just_written_is_not_read_again(path, monkeypatch):
    monkeypatch.setattr(checked, "SETTLED_NS", -(10**15))
    GalleryIndex.open(path)
    read = []
    verify = checking.verify
    monkeypatch.setattr(checking, "verify", lambda index, names=None: read.append(names))
    add_images(path, make_dataset(n_images=75), providers=models())
    assert GalleryIndex.open(path).n_images == 75
    assert not read
    monkeypatch.setattr(checking, "verify", verify)
    file = path / "near" / "part-1.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"part-1\.npy: does not match its checksum"):
        GalleryIndex.open(path)
    file.unlink()
    with pytest.raises(StoreError, match=r"part-1\.npy"):
        GalleryIndex.open(path)


def test_damage_is_named(path):
    manifest = json.loads((path / "index.json").read_text())
    (path / "index.json").write_text(json.dumps(manifest | {"n_images": 61}))
    with pytest.raises(StoreError, match="edited or damaged"):
        GalleryIndex.open(path)
    shutil.rmtree(path / "near")
    with pytest.raises(StoreError):
        GalleryIndex.open(path)


def test_what_cannot_be_built(tmp_path, gallery, path):
    with pytest.raises(StoreError, match="holds an index already"):
        build_index(path, gallery, models())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match="holds something else"):
        build_index(tmp_path / "full", gallery, models())
    with pytest.raises(StoreError, match="not a gallery index"):
        add_images(tmp_path / "nowhere", gallery, providers=models())
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "file").write_text("a file")
    with pytest.raises(StoreError, match="expected a folder"):
        build_index(tmp_path / "file", gallery, models())
    with pytest.raises(OptionError, match="expected at least one provider"):
        build_index(tmp_path / "new", gallery, {})
    with pytest.raises(OptionError, match="expected dtype"):
        build_index(tmp_path / "new", gallery, models(), dtype="int8")
    with pytest.raises(AlignmentError, match="expected seed '1'"):
        add_images(path, make_dataset(n_images=75), providers=models() | {"near": Dot(4)})


def test_a_plain_folder_is_images_and_broken_ones_can_be_left_out(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.jpg", "c.png"):
        Image.new("RGB", (8, 8), "red").save(folder / name)
    (folder / "d.png").write_text("no image")
    images = Images.open(str(folder))
    assert images.ids == ("a", "c", "d", "deep/b")
    used = {"scenes-color": {}}
    with pytest.raises(ImageError, match="'d'"):
        build_index(tmp_path / "bad", images, used)
    index = build_index(tmp_path / "index", images, used, on_missing="skip")
    assert index.ids == ("a", "c", "deep/b")
    with pytest.raises(DatasetError, match="found none"):
        Images.of_folder(tmp_path / "index" / "state-1")
    table = pl.DataFrame({"image_id": ["a", "c"], "price": [1.5, 2.0]})
    priced = images.with_columns(table, where="prices.csv")
    assert priced.frame(0)["price"].to_list() == [1.5, 2.0, None, None]
    with pytest.raises(DatasetError, match="reserved"):
        images.with_columns(table.rename({"price": "path"}), where="prices.csv")
