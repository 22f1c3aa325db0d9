from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from dafm_core.errors import DatasetError
from dafm_core.scenes.dataset import QUERIES_PER_FAMILY, load, make_world
from dafm_core.scenes.texts import COLOR_WORDS, PLACE_WORDS, SHAPE_WORDS
from dafm_core.scenes.world import FAMILY_SIZE, differences, signature

FAMILIES = 30


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cache(monkeypatch, cache):
    monkeypatch.setenv("DAFM_CACHE", str(cache))


@pytest.fixture
def dataset():
    return load(families=FAMILIES)


@pytest.fixture(scope="module")
def world():
    return make_world("0/val", 432)


def test_the_standard_world_is_as_large_as_promised(world):
    scenes = [scene for family in world for scene in family.scenes.values()]
    assert len(scenes) == 2592
    assert sum(len(family.queries) for family in world) >= 3000
    assert len({signature(scene) for scene in scenes}) == len(scenes)


def test_ids_targets_subsets_and_exclusions_agree(dataset):
    assert dataset.protocol == f"scenes-val-f{FAMILIES}"
    assert dataset.problems() == []
    for row in dataset.queries.iter_rows(named=True):
        (target,) = row["targets"]
        assert row["excluded"] == [row["references"][0]]
        assert target != row["references"][0]
        assert len(row["subset"]) == FAMILY_SIZE
        assert {target, row["references"][0]} <= set(row["subset"])
    assert set(dataset.targets.counts) == {1}
    assert set(dataset.subsets.counts) == {FAMILY_SIZE - 1}


def test_families_share_nothing_so_that_grouped_folds_leak_nothing(dataset):
    fit, held_out = dataset.split(test_size=0.4)
    members = [set(part.queries["subset"].explode()) for part in (fit, held_out)]
    assert not members[0] & members[1]
    assert Counter(dataset.groups) == dict.fromkeys(dataset.groups, QUERIES_PER_FAMILY)


def test_neither_gallery_order_nor_ids_say_what_belongs_together():
    dataset = load(families=FAMILIES)
    owner = {i: k for k, row in enumerate(dataset.queries["subset"]) for i in row}
    neighbours = np.array([owner[i] for i in dataset.gallery_ids])
    touching = (neighbours[1:] == neighbours[:-1]).mean()
    chance = (FAMILY_SIZE - 1) / (dataset.n_gallery - 1)
    assert touching < chance + 4 * np.sqrt(chance / dataset.n_gallery)
    assert all(re.fullmatch("[0-9a-f]{12}", i) for i in dataset.gallery_ids + dataset.query_ids)
    assert list(dataset.gallery_ids) == sorted(dataset.gallery_ids)


def test_no_two_images_share_their_pixels(dataset):
    pixels = {np.asarray(Image.open(path)).tobytes() for path in dataset.images.values()}
    assert len(pixels) == dataset.n_gallery


def test_another_process_makes_the_same_bytes(dataset, tmp_path):
    code = (
        "from dafm_core.scenes.dataset import load\n"
        f"dataset = load(families={FAMILIES})\n"
        "print(dataset.queries_sha256 + dataset.gallery_sha256)"
    )
    environment = os.environ | {"DAFM_CACHE": str(tmp_path), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == dataset.queries_sha256 + dataset.gallery_sha256
    for path in list(dataset.images.values())[::7]:
        assert (
            tmp_path / path.relative_to(os.environ["DAFM_CACHE"])
        ).read_bytes() == path.read_bytes()


def test_rendering_goes_on_where_it_was_cut_off(dataset):
    files = list(dataset.images.values())
    lost, kept = files[0], files[1]
    content, before = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    load(families=FAMILIES)
    assert lost.read_bytes() == content
    assert kept.stat().st_mtime_ns == before
    assert not list(lost.parent.glob("*.part"))


def test_splits_and_seeds_are_other_worlds_with_other_names(dataset):
    train, reseeded = load(split="train", families=2), load(families=2, seed=5)
    assert (train.protocol, reseeded.protocol) == ("scenes-train-f2", "scenes-val-f2-s5")
    assert not {*train.gallery_ids, *reseeded.gallery_ids} & set(dataset.gallery_ids)
    assert reseeded.options == {"families": "2", "seed": "5"}


def test_a_query_with_one_change_differs_in_that_only_and_says_so(world):
    words = {"recolor": COLOR_WORDS, "replace": SHAPE_WORDS}
    names = {"recolor": "color", "replace": "shape", "move": "cell", "resize": "size"}
    seen = Counter()
    for family in world[:200]:
        for reference, target, text in family.queries:
            before, after = family.scenes[reference], family.scenes[target]
            changes = differences(before, after)
            if len(changes) != 1:
                continue
            (change,) = changes
            seen[change.kind] += 1
            if change.kind in names:
                others = [key for key in before if before[key] != after[key]]
                assert len(others) == 1
                assert len(before) == len(after)
                old, new = vars(before[others[0]]), vars(after[others[0]])
                assert [name for name in old if old[name] != new[name]] == [names[change.kind]]
            if change.kind in words:
                new = getattr(change.after, names[change.kind])
                assert any(word in text for word in words[change.kind][new]), text
            if change.kind == "add":
                assert any(word in text for word in COLOR_WORDS[change.after.color])
            if change.kind in ("add", "remove"):
                assert abs(len(after) - len(before)) == 1
    assert set(seen) == {"move", "recolor", "resize", "replace", "add", "remove", "count"}


def test_texts_vary_and_read_as_sentences(world):
    texts = [text for family in world for _, _, text in family.queries]
    assert len(set(texts)) > 0.85 * len(texts)
    assert not [text for text in texts if "{" in text or "  " in text or not text.isprintable()]
    used = " ".join(texts)
    assert all(word in used for words in PLACE_WORDS.values() for word in words)
    assert all(word in used for words in SHAPE_WORDS.values() for word in words)


def test_the_number_of_families_and_the_cache_are_checked(monkeypatch, tmp_path):
    with pytest.raises(DatasetError, match="families >= 1, got 0"):
        load(families=0)
    (tmp_path / "file").touch()
    monkeypatch.setenv("DAFM_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match="Set DAFM_CACHE"):
        load(families=1)
