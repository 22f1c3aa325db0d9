"""Every kind of bad input: one line that says what, where and what next; exit code 2; stores as
they were.
"""

import json

import numpy as np
import pytest

from dafm_core.cli.main import main
from dafm_core.scoring.score import score
from dafm_core.store.manifest import sealed
from dafm_core.store.store import SimilarityStore

QUERY = {"query_id": "q0", "reference": "a", "text": "brighter", "targets": ["b"]}


@pytest.fixture
def folder(tmp_path):
    """A folder dataset of four images, a store of it with two providers, and files around it."""
    from PIL import Image

    from dafm_core.catalog import load_dataset

    images = tmp_path / "ds" / "images"
    images.mkdir(parents=True)
    for level, name in enumerate("abcd"):
        Image.new("RGB", (8, 8), (60 * level,) * 3).save(images / f"{name}.png")
    rows = [
        {"query_id": f"q{i}", "reference": "abcd"[i % 4], "text": "x", "targets": ["bcda"[i % 4]]}
        for i in range(8)
    ]
    write_queries(tmp_path / "ds", rows)
    dataset = load_dataset(f"folder:{tmp_path / 'ds'}")
    providers = {"one": Scores(1), "two": Scores(2)}
    score(dataset, providers, store=tmp_path / "store")
    np.save(tmp_path / "wide.npy", np.zeros((8, 5), np.float32))
    np.save(tmp_path / "nan.npy", np.full((8, 4), np.nan, np.float32))
    np.save(tmp_path / "fine.npy", np.eye(8, 4, dtype=np.float32))
    (tmp_path / "ids.txt").write_text("q0\nq99\n")
    (tmp_path / "some.txt").write_text("q0\nq1\n")
    return tmp_path


class Scores:
    def __init__(self, seed):
        self.seed = seed

    def similarity(self, queries, gallery):
        rng = np.random.default_rng(self.seed)
        return rng.standard_normal((len(queries), len(gallery))).astype(np.float32)


def write_queries(folder, rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "queries.jsonl").write_text(lines)


def run(argv, capsys, folder):
    code = main([part.replace("DIR", str(folder)) for part in argv.split()])
    return code, capsys.readouterr().err


def snapshot(folder):
    """Return what a store holds; a lock says who came last, and when, and is no part of it."""
    files = (p for p in (folder / "store").rglob("*") if p.is_file() and p.suffix != ".lock")
    return {p.relative_to(folder): p.read_bytes() for p in files}


IMPORT = "import DIR/{} --provider three --store DIR/store"
CASES = [
    # commands and options
    ("comprae DIR/store", "unknown command 'comprae'; did you mean 'compare'"),
    ("compare DIR/store --fold 5", "unknown option --fold; did you mean '--folds'"),
    ("score folder:DIR/ds --store DIR/new", "required: --provider"),
    # paths and datasets
    ("inspect DIR/nothing", "DIR/nothing: not a similarity store"),
    ("score folder:DIR/nothing --provider scenes-color --store DIR/new", "DIR/nothing"),
    ("score foldr:DIR/ds --provider scenes-color --store DIR/new", "did you mean 'folder'"),
    ("score folder --provider scenes-color --store DIR/new", "expected folder:PATH"),
    ("score cirr:DIR --split vall --provider scenes-color --store DIR/new", "did you mean 'val'"),
    # providers and their options
    ("score folder:DIR/ds --provider scenes-colour --store DIR/new", "did you mean 'scenes-color'"),
    ("score folder:DIR/ds --provider scenes-color --set bins=4 --store DIR/new", "option 'bins'"),
    ("score folder:DIR/ds --provider scenes-color --set bins --store DIR/new", "KEY=VALUE"),
    ("score folder:DIR/ds --provider scenes-color --as A/B --store DIR/new", "lower-case letters"),
    ("score folder:DIR/ds --provider scenes-color --dtype float61 --store DIR/new", "'float16'"),
    # matrices
    (IMPORT.format("wide.npy"), "expected"),
    (IMPORT.format("nan.npy"), "nan"),
    (IMPORT.format("nothing.npy"), "nothing.npy"),
    (IMPORT.format("some.csv"), ".csv"),
    ("import DIR/fine.npy --provider one --store DIR/store", "--overwrite"),
    (
        "import DIR/fine.npy --provider x --store DIR/store --query-ids DIR/ids.txt",
        "2 ids for 8 rows",
    ),
    # fusers, metrics, queries
    ("compare DIR/store --fusers meen --folds 2", "unknown fuser 'meen'; did you mean 'mean'"),
    ("compare DIR/store --fusers mean --metrics recal@1 --folds 2", "recal@1"),
    ("compare DIR/store --fusers mean --metrics recall@0 --folds 2", "recall@0"),
    ("compare DIR/store --fusers mean --folds 99", "folds"),
    ("compare DIR/store --fusers mean --queries DIR/ids.txt", "no query 'q99'"),
    ("compare DIR/store --fusers mean --providers onee", "no provider 'onee'; did you mean 'one'"),
    ("compare DIR/store --fusers mean --set max.x=1", "expected FUSER.KEY"),
    (
        "compare DIR/store --folds 2 --train-queries DIR/some.txt --fusers mean",
        "got --folds and --train-queries",
    ),
    ("compare DIR/store --fusers mean --folds 0", "got 0"),
    ("incremental DIR/store --fuser mean --folds 0", "got 0"),
    ("compare DIR/store --fusers mean --tune rule=x", "--tune: expected FUSER.KEY"),
    ("compare DIR/store DIR/store --bank DIR/store", "--bank go with one store"),
    ("train DIR/store --tune seed=1 --tune seed=1 --out DIR/model", "'seed=1' is given twice"),
    ("train DIR/store --tune seed=1 --set seed=2 --out DIR/model", "both set and tuned"),
    ("train DIR/store --tune sede=1 --out DIR/model", "did you mean 'seed'"),
    ("train DIR/store --fuser mean --gate --out DIR/model", "the gate judges learned ones"),
    ("fuse DIR/store --model DIR/nothing --out DIR/run.npy", "DIR/nothing"),
    ("submit cirr DIR/store --model DIR/nothing --out DIR/out", "DIR/nothing"),
    ("check nothing-like-it", "no provider, fuser or dataset 'nothing-like-it'"),
]


@pytest.mark.parametrize(("argv", "said"), CASES, ids=[c[0] for c in CASES])
def test_one_line_exit_two_and_the_store_as_it_was(folder, capsys, argv, said):
    before = snapshot(folder)
    code, err = run(argv, capsys, folder)
    last = err.strip().splitlines()[-1]
    assert code == 2
    assert last.startswith("dafm: ")
    assert said.replace("DIR", str(folder)) in last
    assert snapshot(folder) == before
    assert not (folder / "new").exists()
    assert not (folder / "model").exists()


QUERIES = [
    ([{**QUERY, "text": 3}], "text"),
    ([{"query_id": "q0", "reference": "a"}], "text"),
    ([QUERY, QUERY], "'q0' stands twice"),
    ([{**QUERY, "targets": "b"}], "targets"),
]


@pytest.mark.parametrize(("rows", "said"), QUERIES, ids=[c[1] for c in QUERIES])
def test_wrong_fields_and_duplicate_ids_are_named(folder, capsys, rows, said):
    write_queries(folder / "ds", rows)
    argv = "score folder:DIR/ds --provider scenes-color --store DIR/new"
    code, err = run(argv, capsys, folder)
    assert code == 2
    assert said in err.strip().splitlines()[-1]
    assert not (folder / "new").exists()


def test_broken_json_is_named(folder, capsys):
    (folder / "ds" / "queries.jsonl").write_text('{"query_id": ')
    argv = "score folder:DIR/ds --provider scenes-color --store DIR/new"
    code, err = run(argv, capsys, folder)
    assert (code, "queries.jsonl" in err) == (2, True)


def test_an_empty_gallery_is_said(folder, capsys):
    for image in (folder / "ds" / "images").iterdir():
        image.unlink()
    argv = "score folder:DIR/ds --provider scenes-color --store DIR/new"
    code, err = run(argv, capsys, folder)
    assert code == 2
    assert "the gallery is empty" in err


def test_an_image_that_is_no_image_is_named(folder, capsys):
    (folder / "ds" / "images" / "c.png").write_text("no image")
    argv = "score folder:DIR/ds --provider scenes-color --store DIR/new"
    code, err = run(argv, capsys, folder)
    assert code == 2
    assert "image 'c'" in err
    assert not (folder / "new").exists()


def test_an_error_hides_nothing_from_who_reads_it(capsys, folder):
    hidden = "\x1b[2J\u202e\x9b"
    assert main(["inspect", f"{folder}/{hidden}"]) == 2
    err = capsys.readouterr().err
    assert not set(hidden[:1] + hidden[-2:]) & set(err)
    assert r"\x1b[2J\u202e\x9b" in err


@pytest.mark.parametrize("flag", ["--json", "--csv", "--markdown", "--latex", "--report"])
def test_a_file_that_cannot_be_written_is_one_line(folder, capsys, flag):
    argv = f"compare DIR/store --fusers mean --folds 2 --resamples 99 {flag} DIR/ids.txt/file"
    code, err = run(argv, capsys, folder)
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith(f"dafm: {folder}/ids.txt/file: cannot be written")


def test_queries_without_targets_cannot_be_compared(folder, capsys):
    blind = [{**QUERY, "query_id": f"q{i}", "targets": []} for i in range(4)]
    write_queries(folder / "ds", blind)
    run("score folder:DIR/ds --provider scenes-color --store DIR/blind", capsys, folder)
    code, err = run("compare DIR/blind --fusers mean --folds 2", capsys, folder)
    assert code == 2
    assert "target" in err


def test_a_passport_of_another_store_is_named(folder, capsys):
    path = folder / "store" / "two" / "passport.json"
    passport = {k: v for k, v in json.loads(path.read_text()).items() if k != "sha256"}
    path.write_text(json.dumps(sealed(passport | {"gallery_sha256": "0"})))
    code, err = run("compare DIR/store --fusers mean --folds 2", capsys, folder)
    assert code == 2
    assert "two/passport.json: expected the store's gallery_sha256" in err


def test_a_store_from_a_newer_format_is_refused(folder, capsys):
    path = folder / "store" / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3}))
    code, err = run("inspect DIR/store", capsys, folder)
    assert code == 2
    assert "format 3 is newer" in err


def test_damage_is_found_by_its_checksum(folder, capsys):
    array = np.load(folder / "store" / "one" / "scores.npy", mmap_mode="r+")
    array[0, 0] += 1
    array.flush()
    code, err = run("inspect DIR/store --verify", capsys, folder)
    assert code == 2
    assert "rows 0:8 do not match their checksum" in err


def test_a_depth_beyond_the_gallery_is_defined(folder, capsys):
    argv = "compare DIR/store --fusers mean --metrics recall@1000 --folds 2 --json DIR/c.json"
    assert run(argv, capsys, folder)[0] == 0
    rows = json.loads((folder / "c.json").read_text())["rows"]
    assert all(row["metrics"]["recall@1000"]["value"] == 100 for row in rows)


def test_a_store_of_one_protocol_takes_no_other(folder, capsys):
    store = SimilarityStore.open(folder / "store")
    write_queries(folder / "ds", [QUERY])
    code, err = run("score folder:DIR/ds --provider scenes-color --store DIR/store", capsys, folder)
    assert code == 2
    assert "queries_sha256" in err
    assert store.providers == ("one", "two")


def test_too_little_memory_is_one_line_that_says_how_much_was_asked_for(monkeypatch, capsys):
    def too_much(argv):
        raise MemoryError("Unable to allocate 9.00 GiB for an array")

    monkeypatch.setattr("dafm_core.cli.main._run", too_much)
    assert main(["fusers"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Unable to allocate 9.00 GiB" in line
    assert "--workers 1" in line


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ("import DIR/fine.npy --provider p --store DIR/none", "--dataset NAME:PATH"),
        ("compare DIR/fine.npy", "dafm import fine.npy --provider NAME"),
        ("fuse DIR/store --model weighted --out DIR/x.trec", "dafm train STORE --fuser weighted"),
        ("compare DIR/store --fusers mean --report DIR/x.pdf", "a page, FILE.html"),
        ("import DIR/fine.npy --provider Fine --store DIR/store", "--label"),
        ("info", "unknown command 'info'. See dafm --help."),
    ],
)
def test_a_first_attempt_is_told_what_to_do(folder, capsys, command, advice):
    code, err = run(command, capsys, folder)
    assert code == 2
    assert advice in err


def test_a_fuser_that_needs_no_fit_fuses_by_its_name(folder, capsys):
    assert run("fuse DIR/store --model mean --out DIR/x.trec", capsys, folder)[0] == 0
    assert len((folder / "x.trec").read_text().splitlines()) == 8 * 4
