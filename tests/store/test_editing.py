"""Splitting a store and merging the parts gives the bytes it started from (law 6)."""

import pytest

from dafm_core.errors import AlignmentError, DatasetError
from dafm_core.scoring.score import score
from dafm_core.store.editing import merge_stores, split_store
from dafm_core.store.store import SimilarityStore


@pytest.fixture
def store(tmp_path, dataset, make_provider):
    providers = {"a": make_provider(1), "b": make_provider(2)}
    score(dataset, providers, store=tmp_path / "whole", block_rows=5)
    return SimilarityStore.open(tmp_path / "whole")


def contents(store):
    names = ("store.json", "queries.parquet", "gallery.parquet")
    paths = [store.path / name for name in names]
    for name in store.providers:
        paths += [
            store.path / name / file for file in ("scores.npy", "passport.json", "neighbours.npy")
        ]
    return [path.read_bytes() for path in paths]


def test_a_part_holds_the_rows_of_its_queries(store, tmp_path):
    part = split_store(store, ["q7", "q2"], tmp_path / "part")
    assert part.dataset.query_ids == ("q7", "q2")
    assert (part.scores("a")[0] == store.scores("a")[7]).all()


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_split_and_merged_again_is_the_same_bytes(store, tmp_path, rng, cut):
    ids = rng.permutation(store.dataset.query_ids).tolist()
    parts = [
        split_store(store, ids[:cut], tmp_path / "1"),
        split_store(store, ids[cut:], tmp_path / "2"),
    ]
    merged = merge_stores(parts, tmp_path / "merged", query_ids=store.dataset.query_ids)
    assert contents(merged) == contents(store)


def test_parts_that_do_not_belong_together_are_refused(store, tmp_path, dataset, make_provider):
    part = split_store(store, ["q0", "q1"], tmp_path / "1")
    with pytest.raises(DatasetError, match="'q0' stands twice"):
        merge_stores([part, part], tmp_path / "2")
    rest = dataset.take(dataset.query_ids[2:])
    score(rest, {"a": make_provider(9), "b": make_provider(2)}, store=tmp_path / "3", block_rows=5)
    with pytest.raises(AlignmentError, match="passports of 'a' differ"):
        merge_stores([part, SimilarityStore.open(tmp_path / "3")], tmp_path / "4")
    score(rest, {"a": make_provider(1)}, store=tmp_path / "5", block_rows=5)
    with pytest.raises(AlignmentError, match=r"expected providers \('a', 'b'\)"):
        merge_stores([part, SimilarityStore.open(tmp_path / "5")], tmp_path / "6")
