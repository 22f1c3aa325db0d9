"""``dafm split``, ``dafm merge`` and two processes that score into one new store at once."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from dafm_core.cli.main import main
from dafm_core.store.shortlist import Shortlist
from dafm_core.store.store import SimilarityStore


@pytest.fixture
def store(tmp_path, dataset, rng):
    """A dense provider and one with lists of three."""
    store = SimilarityStore.create(tmp_path / "store", dataset)
    scores = rng.standard_normal((12, 9)).astype(np.float32)
    with store.writer("dense", passport={"fingerprint": {"seed": "1"}}) as writer:
        writer.write(0, scores)
    columns = [rng.choice(9, 3, replace=False).astype(np.int64) for _ in range(12)]
    lists = [rng.standard_normal(3).astype(np.float32) for _ in range(12)]
    shortlist = Shortlist.of_lists(columns, lists, 9)
    store.write_shortlist("lists", shortlist, passport={"note": "a"}, unknown="not-asked")
    return store


def contents(store):
    kept = (p for p in store.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    return {str(p.relative_to(store)): p.read_bytes() for p in kept}


def write_ids(path, ids):
    path.write_text("\n".join(ids))
    return str(path)


def test_split_and_merged_again_it_is_the_same_bytes(store, tmp_path, capsys, rng):
    ids = rng.permutation(store.dataset.query_ids).tolist()
    every = write_ids(tmp_path / "all.txt", store.dataset.query_ids)
    parts = [str(tmp_path / "1"), str(tmp_path / "2")]
    for part, some in zip(parts, (ids[:5], ids[5:]), strict=True):
        queries = write_ids(tmp_path / "some.txt", some)
        assert main(["split", str(store.path), "--queries", queries, "--out", part]) == 0
    assert "5 queries of toy-val; dense, lists" in capsys.readouterr().out
    merged = tmp_path / "merged"
    assert main(["merge", *parts, "--queries", every, "--out", str(merged)]) == 0
    assert contents(merged) == contents(store.path)
    assert main(["merge", *parts, "--out", str(tmp_path / "in-turn")]) == 0
    assert list(SimilarityStore.open(tmp_path / "in-turn").dataset.query_ids) == ids


def test_a_goal_that_is_a_store_and_unknown_queries_are_refused(store, tmp_path, capsys):
    queries = write_ids(tmp_path / "some.txt", ["q1"])
    argv = ["split", str(store.path), "--queries", queries, "--out"]
    before = contents(store.path)
    assert main([*argv, str(store.path)]) == 2
    assert "Use another store" in capsys.readouterr().err
    assert contents(store.path) == before
    write_ids(tmp_path / "some.txt", ["q99"])
    assert main([*argv, str(tmp_path / "new")]) == 2
    assert "no query 'q99'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_lists_and_rows_of_one_provider_do_not_merge(store, tmp_path, capsys):
    other = SimilarityStore.create(tmp_path / "other", store.dataset.take(["q0"]))
    with other.writer("lists", passport={"note": "a"}) as writer:
        writer.write(0, np.zeros((1, 9), np.float32))
    with other.writer("dense", passport={"fingerprint": {"seed": "1"}}) as writer:
        writer.write(0, np.zeros((1, 9), np.float32))
    rest = write_ids(tmp_path / "rest.txt", store.dataset.query_ids[1:])
    part = str(tmp_path / "part")
    assert main(["split", str(store.path), "--queries", rest, "--out", part]) == 0
    assert main(["merge", part, str(other.path), "--out", str(tmp_path / "new")]) == 2
    assert "the passports of 'lists' differ" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_two_processes_score_two_providers_into_one_new_store(tmp_path):
    path = tmp_path / "store"
    command = [sys.executable, "-m", "dafm_core.cli.main", "score", "scenes"]
    command += ["--dataset-set", "families=6", "--store", str(path), "--block", "4", "--provider"]
    environment = os.environ | {"DAFM_CACHE": str(tmp_path / "cache")}
    first = [*command, "scenes-color", "--store", str(tmp_path / "warm")]
    subprocess.run(first, env=environment, check=True, capture_output=True)  # renders the images
    names = ("scenes-color", "scenes-layout")
    running = [
        subprocess.Popen(
            [*command, name], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for name in names
    ]
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    store = SimilarityStore.open(path)
    assert store.providers == names
    assert [line for name in names for line in store.verify(name)] == []
    assert store.stack().names == names


@pytest.mark.parametrize("name", ["a[1]b", "x*", "what?"])
def test_a_store_may_lie_where_a_shell_would_expand_its_path(tmp_path, name, capsys, dataset):
    store = SimilarityStore.create(tmp_path / name / "store", dataset)
    lists = Shortlist.of_lists([np.arange(2)] * 12, [np.ones(2, np.float32)] * 12, 9)
    store.write_shortlist("lists", lists, passport={}, unknown="below")
    with store.writer("rows", passport={}) as writer:
        writer.write(0, np.ones((12, 9), np.float32))
    opened = SimilarityStore.open(store.path)
    assert opened.stack().names == ("lists", "rows")
    assert opened.verify("lists") == opened.verify("rows") == []
    queries = write_ids(tmp_path / "some.txt", ["q1", "q2"])
    assert main(["split", str(store.path), "--queries", queries, "--out", str(tmp_path / "s")]) == 0
    opened.remove("lists")
    capsys.readouterr()
    assert main(["inspect", str(store.path), "--verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["damage"] == []
