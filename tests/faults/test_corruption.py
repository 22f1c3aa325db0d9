"""What was changed on disk is found before a number is made of it, and looked for only once."""

import json
import os

import numpy as np
import pytest

from dafm_core.cli.main import main
from dafm_core.errors import StoreError
from dafm_core.scoring.score import score_provider
from dafm_core.store import checked
from dafm_core.store.store import SimilarityStore
from dafm_core.store.unit import Unit
from tests.faults.killing import files_below


@pytest.fixture
def store(tmp_path, score):
    """A store of two providers, changed for the last time a minute ago."""
    folder = tmp_path / "store"
    score(folder)
    score(folder, name="second", seed=1)
    for path in folder.rglob("*"):
        age(path)
    return SimilarityStore.open(folder)


def age(path, seconds=60):
    moment = path.stat().st_mtime - seconds
    os.utime(path, (moment, moment))


@pytest.fixture
def reads(monkeypatch):
    """Count how often a provider is read to be checked."""
    counted = []
    verify = Unit.verify
    monkeypatch.setattr(Unit, "verify", lambda self: counted.append(self.name) or verify(self))
    return counted


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "a flipped bit": lambda path: flip(path, len(path.read_bytes()) // 2),
    "a flipped last bit": lambda path: flip(path, -1),
    "the last bytes gone": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "an empty file": lambda path: path.write_bytes(b""),
    "half a file": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a removed file": lambda path: path.unlink(),
}


@pytest.mark.parametrize(
    "name", ["store.json", "queries.parquet", "gallery.parquet", *(
        f"dot/{file}" for file in ("passport.json", "scores.npy", "neighbours.npy")
    )]
)  # fmt: skip
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_in_every_file(store, name, kind):
    before = store.stack(["dot"]).dataset
    DAMAGE[kind](store.path / name)
    try:
        after = SimilarityStore.open(store.path).stack(["dot"]).dataset
    except StoreError:
        return
    assert name.endswith(".parquet")  # its statistics, which nothing reads, may differ
    assert after == before


@pytest.mark.parametrize("seed", range(24))
def test_any_flipped_bit_of_the_rows_is_found(store, seed):
    path = store.path / "dot" / "scores.npy"
    rng = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    place = int(rng.integers(128, len(data)))  # after the header of 128 bytes
    data[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"rows \d+:\d+ do not match.*Score it again"):
        store.stack()
    assert store.stack(verify=False).names == ("dot", "second")


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: -rows,
        lambda rows: rows[::-1],
        lambda rows: np.zeros_like(rows),
        lambda rows: rows.astype(np.int8),
        lambda rows: rows.astype(bool),
        lambda rows: rows.astype(np.complex64),
        lambda rows: rows.astype("U8"),
        lambda rows: rows.astype(np.float64),
        lambda rows: np.asfortranarray(rows),
        lambda rows: rows[:-1],
        lambda rows: rows[None],
    ],
)
def test_other_rows_are_found(store, change):
    path = store.path / "dot" / "scores.npy"
    rows = np.load(path)
    np.save(path, change(rows))
    if np.array_equal(np.load(path), rows) and np.load(path).dtype == rows.dtype:
        assert SimilarityStore.open(store.path).stack()  # the same values in another layout
        return
    with pytest.raises(StoreError):
        store.stack()


def test_swapped_and_foreign_folders_are_found(store, tmp_path, score, dataset):
    one, other = (store.path / name for name in ("dot", "second"))
    one.rename(tmp_path / "kept")
    other.rename(one)
    (tmp_path / "kept").rename(other)
    with pytest.raises(StoreError, match="renamed or swapped"):
        store.stack()


def test_what_matched_is_not_read_again_until_a_file_changes(store, reads):
    store.stack()
    assert sorted(reads) == ["dot", "second"]  # side by side: either may end first
    store.stack()
    SimilarityStore.open(store.path).stack()
    assert len(reads) == 2
    age(store.path / "dot" / "scores.npy")
    store.stack()
    assert reads[2:] == ["dot"]


def test_a_file_of_the_same_size_and_time_is_read_again(store, reads):
    """A copy put in its place has another number; nothing else tells it."""
    store.stack()
    path = store.path / "dot" / "scores.npy"
    before = path.stat()
    copy = path.with_name("copy.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    copy.replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(StoreError, match="do not match"):
        store.stack()


def test_damage_is_not_remembered_as_whole(store, reads):
    flip(store.path / "dot" / "scores.npy", -1)
    for _ in range(2):
        with pytest.raises(StoreError, match="do not match"):
            store.stack(["dot"])
    assert reads == ["dot", "dot"]


@pytest.mark.parametrize("seconds", [0, -3600])
def test_files_changed_just_now_or_later_than_now_are_not_remembered(store, reads, seconds):
    """Such a file could change again within the same tick of the clock, or a clock went back."""
    for path in (store.path / "dot").iterdir():
        os.utime(path)
        age(path, seconds)
    store.stack(["dot"])
    store.stack(["dot"])
    assert reads == ["dot", "dot"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_damaged_memory_remembers_nothing(store, reads, content):
    store.stack(["dot"])
    checked._memory(store.path / "dot").write_bytes(content)
    store.stack(["dot"])
    assert reads == ["dot", "dot"]


def test_a_cache_that_cannot_be_written_costs_time_only(store, reads, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DAFM_CACHE", str(tmp_path / "file" / "cache"))
    store.stack(["dot"])
    store.stack(["dot"])
    assert reads == ["dot", "dot"]


def test_commands_check_unless_they_are_told_not_to(store, capsys, tmp_path):
    flip(store.path / "dot" / "scores.npy", -2)
    model = str(tmp_path / "model")
    arguments = {
        "compare": ["--fusers", "mean", "--folds", "2"],
        "train": ["--fuser", "mean", "--out", model],
        "inspect": [],
    }
    for command, more in arguments.items():
        assert main([command, str(store.path), *more]) == 2, command
        assert "do not match their checksum" in capsys.readouterr().err
    assert main(["train", str(store.path), *arguments["train"], "--no-verify"]) == 0
    for command in ("fuse",):
        out = str(tmp_path / "run.parquet")
        assert main([command, str(store.path), "--model", model, "--out", out]) == 2
        assert "do not match their checksum" in capsys.readouterr().err


def test_inspect_names_every_damaged_block(store, capsys):
    rows = np.load(store.path / "dot" / "scores.npy", mmap_mode="r+")
    rows[0, 0] += 1
    rows[7, 0] += 1
    rows.flush()
    flip(store.path / "second" / "neighbours.npy", -1)
    assert main(["inspect", str(store.path), "--verify", "--json"]) == 2
    damage = json.loads(capsys.readouterr().out)["damage"]
    assert [word in "\n".join(damage) for word in ("rows 0:5", "rows 5:10", "neighbours")] == [
        True,
        True,
        True,
    ]
    assert len(damage) == 3


def test_scoring_again_computes_only_the_damaged_block(store, dataset, make_provider, tmp_path):
    whole = files_below(store.path)
    counted = []

    class Counting(make_provider):
        def encode_queries(self, queries):
            counted.append(len(queries))
            return super().encode_queries(queries)

    def again(**settings):
        counted.clear()
        score_provider(dataset, "dot", Counting(0), store=store.path, **settings)
        return list(counted)

    assert again(block_rows=5) == []
    places = {"scores.npy": [5], "neighbours.npy": []}
    for name, expected in places.items():
        flip(store.path / "dot" / name, 128 + 4)
        assert again(block_rows=7) == expected  # as it was scored, whatever is said now
        assert files_below(store.path) == whole
    (store.path / "dot" / "scores.npy").unlink()
    assert again(block_rows=5) == [5, 5, 2]
    assert files_below(store.path) == whole


def test_what_a_check_costs_is_said_and_paid_once(tmp_path, score, caplog, monkeypatch):
    score(tmp_path / "store")
    for path in (tmp_path / "store").rglob("*"):
        os.utime(path, (10**9, 10**9))  # settled long ago
    monkeypatch.setattr("dafm_core.store.checked.LONG", -1.0)
    store = SimilarityStore.open(tmp_path / "store")
    store.stack()
    assert "MB were checked against their checksums in" in caplog.text
    caplog.clear()
    store.stack()
    assert caplog.text == ""
