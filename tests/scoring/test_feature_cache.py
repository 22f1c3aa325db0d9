"""Features are encoded once per fingerprint and image, and survive being killed halfway."""

import numpy as np
import pytest

from dafm_core.contract.items import ImageRef
from dafm_core.scoring import feature_cache
from dafm_core.scoring.feature_cache import cached_features


@pytest.fixture
def images(tmp_path):
    for i in range(7):
        (tmp_path / f"{i}.png").write_bytes(bytes([i]))
    return [ImageRef(str(i), tmp_path / f"{i}.png") for i in range(7)]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(feature_cache, "BLOCK_IMAGES", 3)


class Encoder:
    def __init__(self, fail_at=None):
        self.seen = []
        self.fail_at = fail_at

    def __call__(self, images):
        if self.fail_at in [image.id for image in images]:
            raise RuntimeError("killed")
        self.seen += [image.id for image in images]
        return np.array([[float(image.id), 1.0] for image in images], np.float32)


def test_features_come_in_the_order_of_the_images(images, small_blocks):
    features = cached_features(images, Encoder(), fingerprint={"a": "1"})
    assert features[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_a_second_call_encodes_nothing(images, small_blocks):
    cached_features(images, Encoder(), fingerprint={"a": "1"})
    again = Encoder()
    features = cached_features(images, again, fingerprint={"a": "1"})
    assert again.seen == []
    assert isinstance(features, np.memmap)


def test_a_killed_call_resumes(images, small_blocks):
    with pytest.raises(RuntimeError):
        cached_features(images, Encoder(fail_at="5"), fingerprint={"a": "1"})
    again = Encoder()
    features = cached_features(images, again, fingerprint={"a": "1"})
    assert again.seen == ["3", "4", "5", "6"]
    assert features[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_another_fingerprint_order_or_file_is_encoded_anew(images, small_blocks):
    cached_features(images, Encoder(), fingerprint={"a": "1"})
    for change in ("fingerprint", "order", "file"):
        again = Encoder()
        fingerprint = {"a": "2"} if change == "fingerprint" else {"a": "1"}
        if change == "file":
            images[4].path.write_bytes(b"another picture")
        chosen = images[::-1] if change == "order" else images
        cached_features(chosen, again, fingerprint=fingerprint)
        assert len(again.seen) == 7, change


def test_nothing_is_kept_without_a_fingerprint(images, small_blocks, tmp_path, monkeypatch):
    monkeypatch.setenv("DAFM_CACHE", str(tmp_path / "cache"))
    done = []
    features = cached_features(images, Encoder(), fingerprint={}, on_block=done.append)
    assert features.shape == (7, 2)
    assert done == [3, 6, 7]
    assert not (tmp_path / "cache").exists()
