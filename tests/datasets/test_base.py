"""A dataset: what it refuses, what equals it, and its parts by query, group and candidate."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import AlignmentError, DatasetError
from dafm_core.ground.ids import Ids


def with_column(dataset, **columns):
    """Return the dataset with other values in some query columns."""
    rows = dataset.queries.to_dicts()
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return replace(dataset, queries=query_frame(rows, where="toy"))


def test_ids_have_positions(dataset):
    assert isinstance(dataset.gallery_ids, Ids)
    assert isinstance(dataset.query_ids, Ids)
    assert dataset.gallery_ids == tuple(f"img{j}" for j in range(9))
    assert dataset.query_ids.positions(["q3", "q1"]).tolist() == [3, 1]


def test_a_dataset_equals_one_with_the_same_content_wherever_its_images_are(dataset):
    again = replace(dataset, images={"img0": Path("elsewhere.png")})
    assert again == dataset
    assert hash(again) == hash(dataset)
    assert len({again, dataset}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "toy-test"},
        {"gallery_ids": [f"img{j}" for j in range(8, -1, -1)]},
        {"metrics": ("mrr",)},
        {"options": {"text": "concept"}},
    ],
)
def test_a_dataset_with_another_fact_is_another_one(dataset, change):
    assert replace(dataset, **change) != dataset
    assert dataset != 3


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("query_id", "other"),
        ("references", ["img3", "img7"]),
        ("text", "other"),
        ("group", "other"),
        ("targets", ["img3"]),
        ("grades", [2.0]),
        ("subset", ["img3", "img7"]),
        ("excluded", []),
        ("candidates", ["img3"]),
        ("tags", ["count"]),
        ("negatives", ["img3"]),
    ],
)
def test_a_dataset_with_another_value_in_any_query_column_is_another_one(dataset, column, value):
    values = dataset.queries[column].to_list()
    values[5] = value
    assert with_column(dataset, **{column: values}) != dataset
    assert dataset.take(dataset.query_ids[::-1]) != dataset  # the order of queries is a fact too
    assert dataset.take(dataset.query_ids) == dataset


def test_targets_subsets_and_exclusions_are_columns_and_a_target_is_never_excluded(dataset):
    changed = with_column(
        dataset,
        targets=[["img2", "elsewhere"]] * 12,
        excluded=[["img1", "img2"]] * 12,
        subset=[["img1", "img4"], *[[]] * 11],
    )
    assert [row.tolist() for row in changed.targets] == [[2]] * 12
    assert [row.tolist() for row in changed.excluded] == [[1]] * 12
    assert [row.tolist() for row in changed.subsets] == [[2, 4], *[[]] * 11]


def test_taking_queries_and_candidates_keeps_everything_by_id(dataset, rng):
    queries = rng.permutation(dataset.query_ids).tolist()[:7]
    gallery = rng.permutation(dataset.gallery_ids).tolist()[:6]
    part = dataset.take(queries).take_gallery(gallery)
    assert (part.query_ids, part.gallery_ids) == (tuple(queries), tuple(gallery))
    for name in ("targets", "excluded"):
        old = dict(zip(dataset.query_ids, getattr(dataset, name), strict=True))
        for query, row in zip(queries, getattr(part, name), strict=True):
            ids = {dataset.gallery_ids[c] for c in old[query]} & set(gallery)
            assert {gallery[c] for c in row} == ids


def test_unknown_and_repeated_ids_are_refused(dataset):
    with pytest.raises(DatasetError, match=r"toy-val: no query 'q99'.*1 of 2 are unknown"):
        dataset.take(["q1", "q99"])
    with pytest.raises(DatasetError, match="query list: id 'q1' stands twice"):
        dataset.take(["q1", "q1"])
    with pytest.raises(AlignmentError, match="toy-val: no gallery image 'img99'"):
        dataset.take_gallery(["img99"])
    with pytest.raises(DatasetError, match="gallery: id 'img1' stands twice"):
        dataset.take_gallery(["img1", "img1"])
    with pytest.raises(DatasetError, match="the gallery is empty"):
        dataset.take_gallery([])
    with pytest.raises(DatasetError, match="queries: id 'q0' stands twice"):
        with_column(dataset, query_id=["q0"] * 12)
    with pytest.raises(DatasetError, match="expected query columns"):
        replace(dataset, queries=dataset.queries.drop("group"))


@pytest.mark.parametrize("group_by", ["group", "text"])
def test_the_parts_of_a_split_share_no_value_and_make_up_the_whole(dataset, group_by):
    fit, held_out = dataset.split(test_size=0.4, group_by=group_by, seed=3)
    assert not set(fit.queries[group_by]) & set(held_out.queries[group_by])
    assert sorted((*fit.query_ids, *held_out.query_ids)) == sorted(dataset.query_ids)
    values = dataset.queries[group_by].n_unique()
    assert held_out.queries[group_by].n_unique() == round(0.4 * values)
    again = dataset.split(test_size=0.4, group_by=group_by, seed=3)
    assert again == (fit, held_out)


def test_a_split_by_no_column_offers_the_closest(dataset):
    with pytest.raises(DatasetError, match="no column 'groups'; did you mean 'group'"):
        dataset.split(group_by="groups")


def test_problems_count_ids_outside_the_gallery(dataset):
    assert dataset.problems() == []
    targets = [["img1", "b"], ["a", "img1"], *[["img1"]] * 10]
    (line,) = with_column(dataset, targets=targets, excluded=[[]] * 12).problems()
    assert line == "toy-val: 2 of the images in 'targets' are not in the gallery: a, b"


def test_hashes_follow_what_a_provider_sees(dataset):
    other_truth = with_column(dataset, targets=[["img0"]] * 12)
    other_text = with_column(dataset, text=["x"] * 12)
    assert other_truth.queries_sha256 == dataset.queries_sha256 != other_text.queries_sha256
    moved = dataset.take_gallery(dataset.gallery_ids[::-1])
    assert moved.gallery_sha256 != dataset.gallery_sha256 == other_text.gallery_sha256


def test_images_and_queries_are_named_in_order(dataset):
    known = replace(dataset, images={"img3": Path("3.png")})
    assert [image.id for image in known.gallery_images()] == list(dataset.gallery_ids)
    assert [image.path for image in known.gallery_images() if image.path] == [Path("3.png")]
    queries = known.iter_queries(2, 4)
    assert [(q.id, q.reference.id, q.text) for q in queries] == [
        ("q2", "img2", "with 2 more"),
        ("q3", "img3", "with 3 more"),
    ]
    assert queries[1].reference.path == Path("3.png")
    assert [q.id for q in known.iter_queries()] == list(dataset.query_ids)


def test_a_query_frame_fills_in_what_is_left_out():
    frame = query_frame([{"query_id": "q", "reference": "r", "text": "t"}], where="f")
    assert frame.rows() == [("q", ["r"], "t", "q", [], None, [], [], None, [], [])]
    assert frame.schema["targets"] == pl.List(pl.String)
    dataset = Dataset(protocol="p", gallery_ids=["r"], queries=frame)
    np.testing.assert_array_equal(dataset.groups, ["q"])


@pytest.mark.parametrize("name", ["query_id", "text", "group", "targets", "candidates", "tags"])
def test_texts_that_no_table_can_hold_name_their_query(name):
    good = {"query_id": "q", "reference": "r", "text": "t"}
    for text, said in (("a\ud800", "surrogate"), ("x" * 100_001, "100,001")):
        value = text if name in ("query_id", "text", "group") else [text]
        rows = [good, good | {"query_id": "bad", name: value}]
        with pytest.raises(DatasetError, match=f"f: query 1: '{name}': .*{said}") as caught:
            query_frame(rows, where="f")
        assert len(str(caught.value)) < 250
