import csv
import json

import numpy as np
import pytest
from PIL import Image

from dafm_core.cli.main import main
from dafm_core.datasets.base import Dataset
from dafm_core.fusion.saving import save_fuser
from dafm_core.fusion.static import MeanFusion
from dafm_core.store.store import SimilarityStore


@pytest.fixture
def store(tmp_path, make_problem):
    """A store of three models; images of its gallery in a folder dataset beside it."""
    dataset, stack = make_problem(n_queries=60, n_gallery=40)
    folder = tmp_path / "pictures"
    (folder / "images").mkdir(parents=True)
    for image_id in dataset.gallery_ids:
        Image.new("RGB", (20, 20), "red").save(folder / "images" / f"{image_id}.png")
    query = {"query_id": "q", "reference": "img0", "text": "a", "targets": ["img1"]}
    (folder / "queries.jsonl").write_text(json.dumps(query))
    store = SimilarityStore.create(tmp_path / "store", dataset)
    for name, matrix in zip(stack.names, stack.matrices, strict=True):
        with store.writer(name, passport={"source": "test"}, block_rows=60) as writer:
            writer.write(0, np.asarray(matrix))
    assert isinstance(store.dataset, Dataset)
    return store


def run(*argv):
    return main([str(part) for part in argv])


def test_a_few_cases_are_shown_in_full(store, capsys):
    assert run("cases", store.path, "--query", "q3", "--query", "q4", "--fusers", "mean") == 0
    text = capsys.readouterr().out
    assert "query q3: 'text 3'" in text
    assert "Why mean puts them there" in text
    assert text.index("q3") < text.index("q4")


def test_many_cases_are_listed_and_exported(store, capsys, tmp_path):
    out, page = tmp_path / "all.csv", tmp_path / "all.html"
    options = ("--depth", "1", "--outcome", "rescued", "--csv", out, "--report", page)
    images = ("--images", f"folder:{tmp_path / 'pictures'}")
    assert run("cases", store.path, *options, *images) == 0
    lines = list(csv.DictReader(out.read_text().splitlines()))
    assert lines
    assert {line["outcome"] for line in lines} == {"rescued"}
    assert "data:image/jpeg" in page.read_text()
    capsys.readouterr()
    assert run("cases", store.path, "--depth", "1", "--json", "--outcome", "rescued") == 0
    record = json.loads(capsys.readouterr().out)
    assert [c["query_id"] for c in record["cases"]] == [line["query_id"] for line in lines]
    assert run("cases", store.path) == 0
    assert "60 queries under weighted" in capsys.readouterr().out.replace("\n", " ")


def test_a_saved_model_is_asked_about_queries_it_has_not_seen(store, capsys, tmp_path):
    fit = store.stack().take_queries(store.dataset.query_ids[:20])
    fuser = MeanFusion(normalize="zscore").fit(fit)
    save_fuser(fuser, tmp_path / "mean")
    seen = tmp_path / "seen.txt"
    seen.write_text("q1\nq2\n")
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"img1": ["a <b>dog</b>", "another"], "img2": "a cat"}))
    model = ("--model", tmp_path / "mean", "--captions", captions)
    assert run("cases", store.path, *model, "--query", "q50", "--report", tmp_path / "p.html") == 0
    tuned = MeanFusion().fit(fit)
    save_fuser(tuned, tmp_path / "tuned")
    capsys.readouterr()
    assert run("cases", store.path, "--model", tmp_path / "tuned", "--queries", seen) == 2
    assert "that it was" in capsys.readouterr().err


def test_labels_are_kept_and_shown_by_cases_and_inspect(store, capsys):
    labels = ("--label", "model-0=The First", "--label", "mean=A Mean")
    assert run("cases", store.path, "--fusers", "mean", *labels, "--query", "q3") == 0
    text = capsys.readouterr().out
    assert "Why A Mean puts them there" in text
    assert "The First" in text
    assert "model-0" not in text
    assert run("cases", store.path, "--fusers", "mean", "--json", "--query", "q3") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["labels"] == {"model-0": "The First", "mean": "A Mean"}
    assert "model-0" in record["cases"][0]["columns"]  # programs go by names
    assert run("inspect", store.path) == 0
    text = capsys.readouterr().out
    assert text.count("The First") >= 3
    assert text.count("model-0") == 1  # beside its label, for commands
    assert run("inspect", store.path, "--label", "model-9=x") == 2
    assert "did you mean 'model-" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--outcome", "brok"], "did you mean 'broke'"),
        (["--about", "color"], "did you mean 'colour'"),
        (["--query", "nope"], "no query 'nope'"),
        (["--depth", "0"], "depth >= 1"),
        (["--model", "a", "--fusers", "mean"], "got both"),
        (["--captions", "nothing.json", "--report", "x.html"], "expected a JSON object"),
    ],
)
def test_bad_input_is_one_line(store, capsys, options, message):
    assert run("cases", store.path, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_incremental_prints_and_exports(store, capsys, tmp_path):
    files = [tmp_path / name for name in ("i.html", "i.json", "i.md", "i.tex")]
    flags = zip(("--report", "--json", "--markdown", "--latex"), files, strict=True)
    argv = ["incremental", store.path, "--fuser", "mean", "--base", "model-0", "--folds", "3"]
    assert run(*argv, "--resamples", "200", *(part for pair in flags for part in pair)) == 0
    text = capsys.readouterr().out
    record = json.loads(files[1].read_text())
    assert (record["base"], record["fuser"]) == ("model-0", "mean")
    assert "fused with mean;" in text
    assert all(sentence in text for sentence in record["monotone"].values())
    assert all(file.stat().st_size for file in files)
    assert run(*argv, "--base", "model-9") == 2
    assert "no provider 'model-9'; did you mean" in capsys.readouterr().err
