"""Stores of format 1, written here by hand as dafm once did: opened to read, then upgraded."""

import hashlib
import json
import shutil

import numpy as np
import polars as pl
import pytest

from dafm_core.cli.main import main
from dafm_core.comparison.inspection import inspect_store
from dafm_core.errors import StoreError
from dafm_core.ground import files as ground_files
from dafm_core.ground.ids import hash_strings
from dafm_core.store import upgrade as upgrading
from dafm_core.store.editing import split_store
from dafm_core.store.store import SimilarityStore
from dafm_core.store.upgrade import upgrade

ROWS = [
    {"query_id": "q0", "reference": "a", "text": "red", "group": "s", "targets": ["b"]},
    {"query_id": "q1", "reference": "b", "text": "two", "group": "s", "targets": ["c", "d"]},
    {"query_id": "q2", "reference": "c", "text": "off", "group": "t", "targets": ["a"]},
]
GALLERY = ["a", "b", "c", "d"]
LISTS = pl.List(pl.String)
SCORES = np.array([[9, 5, 2, 3], [4, 9, 1, 2], [2, 1, 9, 3]], np.float32)


def write_format1(path, protocol="toy-val"):
    """Write a store as format 1 was: one reference a query, hashes of strings, no seals."""
    path.mkdir()
    rows = [{**row, "subset": [], "excluded": [row["reference"]]} for row in ROWS]
    schema = dict.fromkeys(("query_id", "reference", "text", "group"), pl.String)
    schema |= dict.fromkeys(("targets", "subset", "excluded"), LISTS)
    pl.DataFrame(rows, schema=schema).write_parquet(path / "queries.parquet")
    pl.DataFrame({"image_id": GALLERY}).write_parquet(path / "gallery.parquet")
    words = [row[name] for row in ROWS for name in ("query_id", "reference", "text")]
    facts = {
        "format": 1,
        "protocol": protocol,
        "queries_sha256": hash_strings(words),
        "gallery_sha256": hash_strings(GALLERY),
        "dataset_options": {},
    }
    counts = {"metrics": ["recall@1", "map@5"], "n_queries": 3, "n_gallery": 4}
    (path / "store.json").write_text(json.dumps(facts | counts))
    for name in ("one", "two"):
        (path / name).mkdir()
        np.save(path / name / "scores.npy", SCORES)
        passport = facts | {
            "provider": name,
            "source": "imported",
            "direction": "similarity",
            "fingerprint": {},
            "options": {},
            "files": {"scores": {"name": "m.npy", "sha256": "0" * 64}},
            "dtype": "float32",
            "block_rows": 256,
            "tied_share": 0.0,
            "blocks": [{"start": 0, "stop": 3, "sha256": hashlib.sha256(SCORES).hexdigest()}],
        }
        (path / name / "passport.json").write_text(json.dumps(passport))
    np.save(path / "one" / "neighbours.npy", np.zeros((4, 1), np.int32))
    return path


@pytest.fixture
def old(tmp_path):
    return write_format1(tmp_path / "old")


def contents(path):
    kept = (p for p in path.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    return {str(p.relative_to(path)): p.read_bytes() for p in kept}


def test_it_is_read_as_it_was(old):
    store = SimilarityStore.open(old)
    stack = store.stack()
    assert stack.names == ("one", "two")
    assert stack.dataset.queries["references"].to_list() == [["a"], ["b"], ["c"]]
    np.testing.assert_array_equal(store.scores("one"), SCORES)
    values = inspect_store(store, verify=True)
    assert values.damage == ()
    assert values.audits.headroom.singles["one"]["recall@1"] == pytest.approx(1 / 3)


def test_it_cannot_be_written(old):
    before = contents(old)
    store = SimilarityStore.open(old)
    with (
        pytest.raises(StoreError, match=r"format 1 can only be read\. Run dafm upgrade"),
        store.writer("three", passport={}),
    ):
        pass
    with pytest.raises(StoreError, match="Run dafm upgrade"):
        SimilarityStore.create(old, store.dataset)
    assert contents(old) == before


def test_changed_ids_are_refused(old):
    pl.DataFrame({"image_id": GALLERY[::-1]}).write_parquet(old / "gallery.parquet")
    with pytest.raises(StoreError, match="ids do not match"):
        SimilarityStore.open(old).stack()
    with pytest.raises(StoreError, match="ids do not match"):
        upgrade(old)


def test_upgraded_it_has_the_same_scores_and_is_sealed(old, capsys):
    before = SimilarityStore.open(old).stack()
    scores = {name: (old / name / "scores.npy").read_bytes() for name in before.names}
    assert main(["upgrade", str(old)]) == 0
    assert "format 2 now" in capsys.readouterr().out
    store = SimilarityStore.open(old)
    after = store.stack()
    assert after.dataset == before.dataset
    assert {n: (old / n / "scores.npy").read_bytes() for n in after.names} == scores
    assert [line for name in after.names for line in store.verify(name)] == []
    assert store.passport("one")["sources"] == {"scores": {"name": "m.npy", "sha256": "0" * 64}}
    assert set(store.passport("one")["files"]) == {"neighbours.npy"}
    with store.writer("three", passport={}) as writer:
        writer.write(0, SCORES)
    assert store.providers == ("one", "three", "two")
    assert main(["upgrade", str(old)]) == 0
    assert "format 2 already" in capsys.readouterr().out


def test_killed_between_any_two_writes_and_repeated_it_is_the_same_bytes(old, monkeypatch):
    whole = shutil.copytree(old, old.with_name("whole"))
    upgrade(whole)
    expected = contents(whole)
    real, n_writes = ground_files.replacing, 4  # two passports, queries, store.json
    for allowed in range(n_writes):
        killed = shutil.copytree(old, old.with_name(f"killed-{allowed}"))
        left = iter(range(allowed))

        def replacing(path, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return real(path)

        with monkeypatch.context() as patch:
            patch.setattr(ground_files, "replacing", replacing)
            patch.setattr(upgrading, "replacing", replacing)
            with pytest.raises(KeyboardInterrupt):
                upgrade(killed)
        assert contents(killed) != expected
        if allowed:
            with pytest.raises(StoreError, match=r"interrupted\. Repeat dafm upgrade"):
                SimilarityStore.open(killed).stack()
        upgrade(killed)
        assert contents(killed) == expected


def test_circo_becomes_the_protocol_it_always_was(tmp_path):
    path = write_format1(tmp_path / "circo", protocol="circo-val")
    assert SimilarityStore.open(path).protocol == "circo-val-exclude"
    upgrade(path)
    store = SimilarityStore.open(path)
    assert store.protocol == store.passport("one")["protocol"] == "circo-val-exclude"


def test_a_part_of_it_is_a_store_of_format_2(old, tmp_path):
    part = split_store(SimilarityStore.open(old), ["q2"], tmp_path / "part")
    assert json.loads((part.path / "store.json").read_text())["format"] == 2
    np.testing.assert_array_equal(part.scores("two"), SCORES[2:])
