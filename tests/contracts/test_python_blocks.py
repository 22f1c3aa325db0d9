"""Every Python block in README and docs runs as printed, on toy data in place of a benchmark."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dafm_core as dafm
from dafm_core.catalog import PluginCatalog
from dafm_core.cli.main import main
from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.formats.importing import import_scores
from dafm_core.store.store import SimilarityStore
from dafm_core.testing import ProviderSample, check_dataset, check_fuser, check_provider

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
N_QUERIES = 60
"""Of the toy dataset; a page's own counts of queries are cut down to a third of it."""


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def world(make_problem, make_provider, tmp_path, monkeypatch):
    """Return what the blocks may use; data sets and published models are toys of the same names."""
    dataset, _ = make_problem(n_queries=N_QUERIES)

    catalog = PluginCatalog.discover()
    checkpoint = Option(name="checkpoint", summary="a file", kind="path", required=True)
    catalog.providers["sprc"] = ProviderInfo(
        name="sprc",
        summary="a toy that takes what the published model takes",
        factory=lambda **_: make_provider(seed=4),
        options=catalog.providers["sprc"].options if "sprc" in catalog.providers else (checkpoint,),
    )

    def load_dataset(name, *, split):
        assert split in catalog.datasets[name.partition(":")[0]].splits
        return dataset

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dafm, "load_dataset", load_dataset)
    monkeypatch.setattr(PluginCatalog, "discover", lambda: catalog)
    return {"dataset": dataset, "my_provider": make_provider(seed=1)}


def run(page, names):
    """Execute the blocks of a page one after the other, and return the names they leave."""
    for block in blocks(page):
        toy = re.sub(r"\[:\d+\]", f"[:{N_QUERIES // 3}]", block)
        exec(compile(toy, page.name, "exec"), names)
    return names


def test_every_page_with_python_is_run_here():
    """A new page, or the first block in an old one, needs a test below."""
    found = {str(page.relative_to(ROOT)) for page in PAGES if blocks(page)}
    assert found == {
        "README.md",
        "docs/how-to/fuse-in-production.md",
        "docs/how-to/import-a-model.md",
        "docs/how-to/rerank-a-shortlist.md",
        "docs/how-to/score-on-several-machines.md",
        "docs/how-to/search-a-gallery.md",
        "docs/how-to/write-a-dataset.md",
        "docs/how-to/write-a-fuser.md",
        "docs/how-to/write-a-plugin.md",
    }


def test_readme(world, tmp_path, capsys):
    names = {**world, "my_image_encoder": brightness, "my_composer": composed}
    run(ROOT / "README.md", names)
    printed = capsys.readouterr().out
    assert "cross-fitted on 5 folds" in printed
    assert "light" in printed
    assert SimilarityStore.open(tmp_path / "scores").providers == ("mine", "sprc")
    (described,) = names["dafm_similarity_providers"]()
    assert_ranks_the_brighter_image_first(described.factory(), tmp_path)


def assert_ranks_the_brighter_image_first(provider, folder):
    images = []
    for level in (50, 200):
        path = folder / f"{level}.png"
        Image.new("L", (4, 4), level).save(path)
        images.append(dafm.ImageRef(str(level), path))
    query = dafm.Query(id="q", references=(images[0],), text="brighter")
    gallery = provider.encode_gallery(images)
    scores = provider.similarity(provider.encode_queries([query]), gallery)
    assert scores.shape == (1, 2)
    assert scores[0, 1] > scores[0, 0]


def brightness(image):
    return np.array([np.asarray(image).mean()], np.float32)


def composed(image, text):
    return brightness(image) * (1 if text == "brighter" else -1)


def test_import_a_model(world, tmp_path):
    """What the block writes is what ``dafm import`` reads, in whatever order it comes."""
    dataset = world["dataset"]
    rng = np.random.default_rng(0)
    similarity = rng.normal(size=(dataset.n_queries, dataset.n_gallery)).astype(np.float32)
    ids = {"pair_ids": dataset.query_ids[::-1], "names": dataset.gallery_ids}
    run(ROOT / "docs/how-to/import-a-model.md", {**ids, "similarity": similarity})
    store = SimilarityStore.create(tmp_path / "store", dataset)
    import_scores(store, "ccin", tmp_path / "ccin.npz")
    np.testing.assert_array_equal(store.scores("ccin"), similarity[::-1])


def test_score_on_several_machines(world, make_provider, tmp_path):
    """Machine two has scored the rest; together they are what one machine gives."""
    dataset, options = world["dataset"], {"checkpoint": "sprc_cirr.pt"}
    rest = dataset.take(dataset.query_ids[N_QUERIES // 3 :])
    dafm.score(rest, {"sprc": options}, store=tmp_path / "part-2")
    run(ROOT / "docs/how-to/score-on-several-machines.md", world)
    (tmp_path / "all.txt").write_text("\n".join(dataset.query_ids))
    parts = [str(tmp_path / "part-1"), str(tmp_path / "part-2")]
    order = ["--queries", str(tmp_path / "all.txt"), "--out", str(tmp_path / "scores")]
    assert main(["merge", *parts, *order]) == 0
    whole = dafm.score(dataset, {"sprc": options}, store=tmp_path / "whole")
    merged = SimilarityStore.open(tmp_path / "scores").stack()
    assert merged.query_ids == dataset.query_ids
    np.testing.assert_array_equal(merged.tile(0, 60), whole.tile(0, 60))


def test_write_a_plugin():
    names = run(ROOT / "docs/how-to/write-a-plugin.md", {})
    (described,) = names["dafm_similarity_providers"]()
    assert [option.name for option in described.options] == ["checkpoint"]
    assert {"encode_gallery", "encode_queries", "similarity"} <= vars(names["Mine"]).keys()


def test_write_a_dataset():
    names = run(ROOT / "docs/how-to/write-a-dataset.md", {"__name__": "page"})
    (described,) = names["dafm_datasets"]()
    results = check_dataset(lambda: names["load"]("data", split=described.splits[0]))
    assert not [result for result in results if result.outcome == "failed"]


def test_write_a_fuser():
    """Both fusers of the page hold to the laws, and the described options are those it takes."""
    names = run(ROOT / "docs/how-to/write-a-fuser.md", {"__name__": "page"})
    for fuser in (names["MedianFusion"](), names["LeadFusion"](power=2.0)):
        failed = [result for result in check_fuser(fuser) if result.outcome == "failed"]
        assert not failed
    (described,) = names["dafm_fusers"]()
    assert {option.name for option in described.options} == names["LeadFusion"]().params().keys()


def test_rerank_a_shortlist(tmp_path):
    names = run(ROOT / "docs/how-to/rerank-a-shortlist.md", {})

    class Judge(names["Verifier"]):
        def judge(self, query, image):
            return len(set(query.text)) * brightness(image.open())[0]

    results = check_provider(Judge(), ProviderSample.draw(tmp_path))
    assert not [result for result in results if result.outcome == "failed"]


def test_search_a_gallery(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    dataset = dafm.load_dataset("scenes", families="4")
    models = ["scenes-color", "scenes-words"]
    fuser = dafm.MeanFusion().fit(dafm.score(dataset, models, store="scores"))
    dafm.save_fuser(fuser, "light")
    dafm.GalleryIndex.build("index", dataset, models)
    Image.open(dataset.images[dataset.gallery_ids[0]]).convert("RGB").save("dress.jpg")
    run(ROOT / "docs/how-to/search-a-gallery.md", {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        str(rank) for rank in range(1, 11)
    ]


def test_fuse_in_production(make_problem, tmp_path, monkeypatch):
    """Live rows are ranked as the stored ones; what is not finite, or nobody's, is refused."""
    monkeypatch.chdir(tmp_path)
    _, stack = make_problem()
    fuser = dafm.LightFusion(network="linear").fit(stack)
    dafm.save_fuser(fuser, "light")
    names = run(ROOT / "docs/how-to/fuse-in-production.md", {})
    gallery, score = names["prepare"](stack.gallery_ids, stack.names)
    tile = np.maximum(stack.tile(0, 1), -9)  # nothing excluded
    rows = dict(zip(stack.names, tile[0], strict=True))
    fused = names["fuse"](gallery, score, rows)
    np.testing.assert_array_equal(fused, fuser.scorer(stack.gallery)(tile)[0])
    for bad in (rows | {"other": tile[0, 0]}, rows | {stack.names[0]: tile[0, 0] * np.nan}):
        with pytest.raises(dafm.DafmError, match="expected"):
            names["fuse"](gallery, score, bad)
    drift = names["drift"](fuser.bank_, fuser.bank_)
    assert drift == pytest.approx(dict.fromkeys(stack.names, 0), abs=1e-6)
