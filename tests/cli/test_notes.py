"""Ids that a dataset names in vain are counted and named wherever numbers are printed."""

import json

import numpy as np
import pytest

from dafm_core.cli.main import main

GALLERY = [f"dev-{i}-0-img0" for i in range(12)]


@pytest.fixture
def store(tmp_path, capsys):
    """CIRR in small, its first target deleted from the split file; two models find every other."""
    missing = GALLERY[1]
    rows = [
        {
            "pairid": 70 + i,
            "reference": GALLERY[i],
            "target_hard": GALLERY[(i + 1) % 12],
            "caption": "red",
            "img_set": {"id": i // 2, "members": GALLERY[6 * (i // 6) :][:6]},
        }
        for i in range(12)
    ]
    left = [image for image in GALLERY if image != missing]
    (tmp_path / "captions").mkdir()
    (tmp_path / "image_splits").mkdir()
    (tmp_path / "captions/cap.rc2.val.json").write_text(json.dumps(rows))
    split = {image: f"./dev/{image}.png" for image in left}
    (tmp_path / "image_splits/split.rc2.val.json").write_text(json.dumps(split))
    scores = np.random.default_rng(0).normal(size=(12, 11)).astype(np.float32)
    for i in range(1, 12):
        scores[i, left.index(GALLERY[(i + 1) % 12])] = 9
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", scores)
        argv = ["import", str(tmp_path / f"{name}.npy"), "--provider", name]
        argv += ["--store", str(tmp_path / "store"), "--dataset", f"cirr:{tmp_path}"]
        assert main(argv) == 0
    assert "no target in the gallery: 70" in capsys.readouterr().out
    return tmp_path / "store"


NOTES = (
    "cirr-val: 1 of the images in 'targets' are not in the gallery: dev-1-0-img0",
    "cirr-val: 1 of 12 queries have no target in the gallery: 70",
)


def test_inspect_measures_the_queries_that_name_a_target(store, capsys):
    """The lost target is never retrieved: eleven hits of twelve."""
    assert main(["inspect", str(store), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["audits"]["headroom"]["singles"]["a"]["recall@1"] == pytest.approx(11 / 12)
    assert set(NOTES) <= set(record["problems"])
    assert main(["inspect", str(store)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "91.67" in text
    assert all(note in text for note in NOTES)


def test_compare_says_so_on_the_terminal_the_page_and_in_json(store, tmp_path, capsys):
    argv = ["compare", str(store), "--fusers", "mean", "--folds", "2", "--resamples", "99"]
    files = ["--json", str(tmp_path / "c.json"), "--report", str(tmp_path / "c.html")]
    assert main([*argv, *files]) == 0
    text = " ".join(capsys.readouterr().out.split())
    record = json.loads((tmp_path / "c.json").read_text())
    row = next(row for row in record["rows"] if row["name"] == "a")
    assert row["metrics"]["recall@1"]["value"] == pytest.approx(100 * 11 / 12)
    page = (tmp_path / "c.html").read_text().replace("&#39;", "'")
    for note in NOTES:
        assert note in text
        assert note in record["notes"]
        assert f"note: {note}" in page


@pytest.mark.parametrize(
    "command",
    [
        "incremental STORE --fuser mean --folds 2 --resamples 99",
        "cases STORE --fusers mean --folds 2",
        "train STORE --fuser mean --test-size 0.5 --out OUT",
    ],
)
def test_other_commands_with_numbers_say_so(store, tmp_path, command, capsys):
    words = {"STORE": str(store), "OUT": str(tmp_path / "out")}
    assert main([words.get(word, word) for word in command.split()]) == 0
    assert "no target in the gallery: 70" in " ".join(capsys.readouterr().out.split())


def folder_store(path, rows, gallery):
    path.mkdir()
    (path / "gallery.txt").write_text("\n".join(gallery))
    (path / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    np.save(path / "m.npy", np.eye(len(rows), len(gallery), dtype=np.float32))
    argv = ["import", str(path / "m.npy"), "--provider", "m", "--store", str(path / "store")]
    assert main([*argv, "--dataset", f"folder:{path}"]) == 0
    return path / "store"


def test_queries_without_targets_are_left_out_and_counted(tmp_path, capsys):
    rows = [
        {"query_id": f"q{i}", "reference": "a", "text": "t", "group": "g" + str(i % 4)}
        | ({"targets": ["abcdef"[i]]} if i != 2 else {})
        for i in range(6)
    ]
    store = folder_store(tmp_path / "set", rows, "abcdef")
    capsys.readouterr()
    assert main(["inspect", str(store)]) == 0
    text = capsys.readouterr().out
    assert "1 of 6 queries name no target and are not measured: q2" in text
    assert "measured on 5 of 6 queries" in text
    out = tmp_path / "c.json"
    argv = ["compare", str(store), "--fusers", "mean", "--folds", "2", "--resamples", "99"]
    assert main([*argv, "--json", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["n_queries"] == 5
    assert record["rows"][0]["metrics"]["recall@1"]["value"] == pytest.approx(100)
    assert any("q2" in note for note in record["notes"])


@pytest.mark.parametrize("column", ["subset", "excluded", "candidates"])
def test_every_list_of_ids_is_checked(tmp_path, column, capsys):
    row = {"query_id": "q0", "reference": "a", "text": "t", "targets": ["b"], column: ["b", "zz"]}
    store = folder_store(tmp_path / "set", [row], "abc")
    assert f"images in '{column}' are not in the gallery: zz" in capsys.readouterr().out
    assert main(["inspect", str(store), "--json"]) == 0
    assert any("zz" in line for line in json.loads(capsys.readouterr().out)["problems"])
