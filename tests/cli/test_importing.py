"""``dafm import`` as a user types it: what it prints, and what it refuses with which next step."""

import json

import numpy as np
import pytest

from dafm_core.cli.main import build_parser, main
from dafm_core.formats.matching import RULES
from dafm_core.store.store import SimilarityStore

QUERIES, GALLERY = ("q0", "q1"), ("a", "b", "c")
SCORES = np.array([[0, 2, 1], [3, 4, 5]], np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder dataset of two queries, and a file that lists the gallery backwards."""
    monkeypatch.chdir(tmp_path)
    rows = [{"query_id": q, "reference": "a", "text": "t", "targets": ["b"]} for q in QUERIES]
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds" / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "ds" / "gallery.txt").write_text("\n".join(GALLERY))
    names = np.array([f"{image}.jpg" for image in reversed(GALLERY)])
    np.savez(tmp_path / "m.npz", sims=SCORES[:, ::-1], names=names)
    (tmp_path / "back.txt").write_text("\n".join(reversed(GALLERY)))
    return tmp_path


def run(argv):
    return main(["import", *argv.split(), "--store", "store", "--dataset", "folder:ds"])


def test_each_refusal_names_the_option_that_helps(folder, capsys):
    assert run("m.npz --provider m --key sims") == 2
    assert "confirm it with --ids extension" in capsys.readouterr().err
    assert not (folder / "store").exists()
    assert run("m.npz --provider m --key sims --ids extension") == 0
    assert "imported m.npz" in capsys.readouterr().out
    np.testing.assert_array_equal(SimilarityStore.open("store").scores("m"), SCORES)
    assert run("m.npz --provider m --key sims --ids extension") == 0
    assert "nothing to do, it has the scores of m.npz" in capsys.readouterr().out
    repeated = "--gallery-ids back.txt --ignore names"
    assert run(f"m.npz --provider m --key sims {repeated}") == 2
    assert "under --provider NAME, or replace it with --overwrite" in capsys.readouterr().err
    np.testing.assert_array_equal(SimilarityStore.open("store").scores("m"), SCORES)
    assert run(f"m.npz --provider m --key sims {repeated} --overwrite") == 0


def test_ranks_that_decide_are_mentioned(folder, capsys):
    lines = [f"{q} Q0 {i} {rank} 0 me" for q in QUERIES for rank, i in enumerate("bca", 1)]
    (folder / "r.trec").write_text("\n".join(lines))
    assert run("r.trec --provider r") == 0
    assert "  ordered by rank" in capsys.readouterr().out
    assert SimilarityStore.open("store").passport("r")["options"]["order"] == "rank"


def test_options_of_scores_do_not_go_with_features(folder, capsys):
    np.save(folder / "q.npy", np.eye(2))
    np.save(folder / "g.npy", np.ones((3, 2)))
    for option in ("--order rank", "--direction distance"):
        assert run(f"q.npy --gallery-features g.npy --provider f {option}") == 2
        assert f"{option.split()[0]} is for scores" in capsys.readouterr().err


def test_the_help_names_every_rule():
    text = build_parser("import").format_help()
    assert all(rule in text for rule in RULES)
