"""``dafm index`` and ``dafm search``, as one would type them."""

import json

import numpy as np
import pytest

import dafm_core as dafm
from dafm_core.cli.main import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("search")
    dataset = dafm.load_dataset("scenes", families="8")
    stack = dafm.score(dataset, ["scenes-color", "scenes-words"], store=root / "store")
    dafm.save_fuser(dafm.LightFusion(network="linear").fit(stack), root / "light")
    few = ["scenes", "--dataset-set", "families=7", "--model", str(root / "light")]
    assert main(["index", *few, "--out", str(root / "index")]) == 0
    return root


def ask(folder, *words):
    dataset = dafm.load_dataset("scenes", families="7")
    query = dataset.iter_queries(0, 1)[0]
    image = ["--image", query.references[0].id, "--text", query.text]
    index = ["search", str(folder / "index"), "--model", str(folder / "light")]
    return main([*index, *(words or image)])


def test_search_prints_hits_and_json(folder, capsys):
    assert ask(folder) == 0
    assert "scenes-words" in capsys.readouterr().out
    dataset = dafm.load_dataset("scenes", families="7")
    file = str(dataset.images[dataset.gallery_ids[0]])
    assert ask(folder, "--image", file, "--text", "add a red ball", "-k", "3", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
    assert set(answer["hits"][0]["opinions"]) == {"scenes-color", "scenes-words"}


def test_a_fuser_that_needs_no_fit_is_called_by_name(folder, capsys):
    image = ["--image", dafm.load_dataset("scenes", families="7").gallery_ids[1]]
    assert main(["search", str(folder / "index"), "--model", "mean", *image]) == 0
    assert "scenes-words" in capsys.readouterr().out
    assert main(["search", str(folder / "index"), "--model", "light", *image]) == 2
    assert "dafm train STORE --fuser light" in capsys.readouterr().err
    assert main(["search", str(folder / "index"), "--model", "nowhere", *image]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_add_and_remove(folder, capsys):
    out = ["--out", str(folder / "index")]
    assert main(["index", "scenes", "--dataset-set", "families=8", "--add", *out]) == 0
    assert "48 images" in capsys.readouterr().out
    gone = dafm.load_dataset("scenes", families="8").gallery_ids[0]
    assert main(["index", gone, "--remove", *out]) == 0
    assert "47 images" in capsys.readouterr().out


def test_features_made_elsewhere(folder, tmp_path, capsys, rng):
    ids = dafm.load_dataset("scenes", families="7").gallery_ids
    np.save(tmp_path / "gallery.npy", rng.normal(size=(len(ids), 5)).astype(np.float32))
    np.save(tmp_path / "query.npy", rng.normal(size=5).astype(np.float32))
    made = ["--features", f"made={tmp_path / 'gallery.npy'}", "--out", str(tmp_path / "index")]
    assert main(["index", "scenes", "--dataset-set", "families=7", *made]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", ""], "expected a text or a reference image"),
        (["--image", "nowhere.png"], "neither an image of the gallery nor a file"),
        (["--text", "red", "-k", "0"], "expected 1 to"),
        (["--text", "red", "--filter", "x = 1"], "no column 'x'"),
        (["--text", "red", "--budget", "-1"], "--budget"),
        (["--text", "red", "--set", "checkpoint=x"], "NAME.KEY=VALUE"),
        (["--text", "red", "--set", "sprc.checkpoint=x"], "got 'sprc'"),
    ],
)
def test_bad_input_is_one_line(folder, capsys, words, message):
    assert ask(folder, *words) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_what_index_refuses(folder, tmp_path, capsys):
    model = ["--model", str(folder / "light")]
    cases = {
        ("scenes", "--out", str(folder / "index"), *model): "holds an index already",
        ("nowhere", "--provider", "scenes-color", "--out", str(tmp_path / "a")): "unknown dataset",
        ("scenes", "--out", str(tmp_path / "b")): "expected --provider, --features or --model",
        ("x", "--remove", "--out", str(tmp_path / "c")): "not a gallery index",
        ("x", "--remove", "--dtype", "float16", "--out", str(tmp_path / "c")): "no use for --dtype",
        ("x", "--add", "--bank", "none", "--out", str(tmp_path / "c")): "no use for --bank",
        ("--remove", "--engine", "ivf", "--out", str(tmp_path / "c")): "no use for --remove",
        (
            *("scenes", "--provider", "scenes-color", "--engine", "ivf"),
            *("--bank", "none", "--out", str(tmp_path / "d")),
        ): "scores are inner products, got 'scenes-color'",
    }
    for words, message in cases.items():
        assert main(["index", *words]) == 2
        assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())  # nothing was encoded before it was refused


def test_the_demo_ends_in_an_index(folder, tmp_path):
    from dafm_core.cli.demo import build_demo_index

    dataset = dafm.load_dataset("scenes", families="8")
    fuser = dafm.load_fuser(folder / "light")
    for _ in range(2):  # a demo is repeated into the same folder
        build_demo_index(tmp_path / "i", dataset, ("scenes-color", "scenes-words"), fuser)
    index = dafm.GalleryIndex.open(tmp_path / "i")
    assert index.manifest.bank["queries"] == dataset.n_queries
