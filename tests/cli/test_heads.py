"""Both files of CIRR's server from one model, each by its head, scored by hand."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.cli.main import main
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.formats.fitted import read_head
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.fusion.saving import save_fuser
from dafm_core.store.store import SimilarityStore

N_SETS = 24


@pytest.fixture(scope="module")
def cirr(tmp_path_factory):
    """A store of CIRR's form, half of whose sets a model with two heads was fitted on."""
    folder = tmp_path_factory.mktemp("cirr")
    images = [f"dev-{i}-{j}-img0" for i in range(N_SETS) for j in range(6)]
    rows = [
        {
            "pairid": 10 * i + j,
            "reference": images[6 * i + j],
            "target_hard": images[6 * i + (j + 1) % 6],
            "caption": "red",
            "img_set": {"id": i, "members": images[6 * i : 6 * i + 6]},
        }
        for i in range(N_SETS)
        for j in range(4)
    ]
    for path, value in (
        ("captions/cap.rc2.val.json", rows),
        ("image_splits/split.rc2.val.json", {i: f"./dev/{i}.png" for i in images}),
    ):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(json.dumps(value))
    spec = f"cirr:{folder}"
    dataset = PluginCatalog.discover().load_dataset(spec)
    far, near = np.random.default_rng(0).normal(size=(2, dataset.n_queries, dataset.n_gallery))
    far[dataset.subsets.rows, dataset.subsets.values] += 2.0
    near[dataset.targets.rows, dataset.targets.values] += 1.5
    for name, matrix in (("far", far), ("near", near)):
        np.save(folder / f"{name}.npy", matrix.astype(np.float32))
        argv = ["import", str(folder / f"{name}.npy"), "--provider", name, "--dataset", spec]
        assert main([*argv, "--store", str(folder / "all")]) == 0
    halves = np.array_split(np.array(dataset.query_ids), 2)
    for name, ids in zip(("fit", "rest"), halves, strict=True):
        (folder / f"{name}.txt").write_text("\n".join(ids))
        argv = ["split", str(folder / "all"), "--queries", str(folder / f"{name}.txt")]
        assert main([*argv, "--out", str(folder / name)]) == 0
    stack = SimilarityStore.open(folder / "fit").stack()
    save_fuser(LightFusion(network="linear").fit(stack), folder / "light")
    return SimpleNamespace(folder=folder, dataset=dataset)


def by_hand(folder, dataset):
    """Return recall@5 and rsubset@1 of two submission files, from the lists alone."""
    lists = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in ("recall", "recall_subset")
    }
    right = dict(zip(dataset.query_ids, dataset.queries["targets"].to_list(), strict=True))
    queries = [query for query in lists["recall"] if query in right]
    found = [right[q][0] in lists["recall"][q][:5] for q in queries]
    first = [right[q][0] == lists["recall_subset"][q][0] for q in queries]
    return np.mean(found), np.mean(first)


def test_submit_writes_each_file_by_its_head(cirr, capsys):
    folder = cirr.folder
    argv = ["submit", "cirr", str(folder / "rest"), "--model", str(folder / "light")]
    assert main([*argv, "--out", str(folder / "files")]) == 0
    said = capsys.readouterr().out
    assert "by the gallery head" in said
    assert "by the subset head" in said
    stack = SimilarityStore.open(folder / "rest").stack()
    light = LightFusion(network="linear").fit(SimilarityStore.open(folder / "fit").stack())
    table = evaluate(light, stack).values
    recall, within = by_hand(folder / "files", cirr.dataset)
    assert recall == pytest.approx(table["recall@5"])
    assert within == pytest.approx(table["rsubset@1"])
    one_score = evaluate(light, stack, metrics=["rsubset@1"])
    assert one_score.heads == ("gallery", "subset")


def test_fuse_writes_the_head_that_is_asked_for(cirr, capsys):
    folder = cirr.folder
    argv = ["fuse", str(folder / "rest"), "--model", str(folder / "light"), "--head"]
    for head, longest in (("gallery", 100), ("subset", 5)):
        path = folder / f"{head}.trec"
        assert main([*argv, head, "--out", str(path)]) == 0
        assert f"{head} head" in capsys.readouterr().out
        lines = [line.split() for line in path.read_text().splitlines()]
        assert {line[-1] for line in lines} == {f"light-{head}"}
        lengths = {q: sum(line[0] == q for line in lines) for q in {line[0] for line in lines}}
        assert set(lengths.values()) == {longest}


@pytest.mark.parametrize("suffix", ["npy", "parquet", "trec"])
def test_a_file_of_scores_says_its_head_and_so_does_what_it_becomes(cirr, tmp_path, suffix, capsys):
    rest, light = cirr.folder / "rest", cirr.folder / "light"
    store = str(shutil.copytree(rest, tmp_path / "store"))
    for head in ("gallery", "subset"):
        path = tmp_path / f"{head}.{suffix}"
        argv = ["fuse", str(rest), "--model", str(light), "--head", head, "--out", str(path)]
        assert main(argv) == 0
        assert read_head(path) == head
        assert main(["import", str(path), "--provider", f"{head}-scores", "--store", store]) == 0
        assert SimilarityStore.open(store).passport(f"{head}-scores")["head"] == head
    capsys.readouterr()
    assert main(["inspect", store]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the scores of subset-scores were made to rank each query's subset" in said
    assert "gallery-scores were made" not in said


def test_every_output_of_a_comparison_says_which_head(cirr, capsys):
    folder = cirr.folder
    argv = ["compare", str(folder / "all"), "--fusers", "light,mean", "--folds", "2"]
    argv += ["--set", "light.network=linear", "--resamples", "50"]
    files = {"json": "c.json", "csv": "c.csv", "markdown": "c.md", "latex": "c.tex"}
    for flag, name in files.items():
        argv += [f"--{flag}", str(folder / name)]
    argv += ["--report", str(folder / "c.html")]
    argv += ["--by-type", "--type-table", str(folder / "types.csv")]
    assert main(argv) == 0
    said = "Two heads: light; any other row has one score for both."
    lines = capsys.readouterr().out.splitlines()
    printed = " ".join(" ".join(lines).split())
    assert said in printed
    above = next(i for i, line in enumerate(lines) if line.startswith("Method")) - 2
    places = [lines[above].index(f"{head} head") for head in ("gallery", "subset")]
    assert places[0] < lines[above + 2].index("Rs@1") <= places[1] + len("subset head")
    assert "by what the text asks for" in printed
    assert (folder / "types.csv").read_text().startswith("type,n_queries,n_groups,row,kind,metric")
    marks = {
        "c.md": "| R@1 (gallery head) |",
        "c.html": 'class="group">subset head</th>',
        "c.tex": r"\multicolumn{4}{c}{gallery head}",
    }
    for name, mark in marks.items():
        text = (folder / name).read_text()
        assert said in text
        assert mark in text
    rows = {row["name"]: row for row in json.loads((folder / "c.json").read_text())["rows"]}
    assert rows["light"]["heads"] == ["gallery", "subset"]
    assert rows["mean"]["heads"] == ["gallery"]
    of_light = [line.split(",") for line in (folder / "c.csv").read_text().splitlines()]
    head = of_light[0].index("head")
    heads = {line[3]: line[head] for line in of_light[1:] if line[1] == "light"}
    assert heads["recall@1"] == "gallery"
    assert heads["rsubset@1"] == "subset"
    assert heads["rmean"] == "gallery+subset"
