"""Large galleries: closed forms against whole rows, two stages, growth, engines."""

import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import dafm_core as dafm
from dafm_core.catalog import PluginCatalog
from dafm_core.datasets.bank import as_bank
from dafm_core.errors import OptionError, StoreError
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.ground.normalize import zscore_rows
from dafm_core.search import finding, others, search, state, streamed
from dafm_core.search.building import add_images, build_index, remove_images
from dafm_core.search.closed_form import ClosedView, Knowledge
from dafm_core.search.code_files import read_codes
from dafm_core.search.engine_making import build_engine
from dafm_core.search.prepared import with_bank
from dafm_core.search.requests import Request
from dafm_core.search.search import Search
from dafm_core.search.spaces import seen_direction, spaces

from .conftest import Dot, make_dataset
from .test_screen import LOOPS

N = 1200
FUSERS = {
    "light": {"network": "linear"},
    "debiased": {},
    "logistic": {},
    "weighted": {"normalize": "zscore"},
}


def dots():
    made = {"near": Dot(1, 12), "skewed": Dot(2, 8, skew=0.5), "third": Dot(3, 10)}
    for model in made.values():
        model.references = "any"
    return made


@pytest.fixture(scope="module", autouse=True)
def small_is_large():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "MAX_NEIGHBOURS", 500)
        patch.setattr(search, "NEAREST", 200)
        yield


@pytest.fixture(scope="module")
def dataset():
    """Queries whose target is among the first few of all models together, whom one can learn."""
    plain = make_dataset(n_images=N, n_queries=60)
    queries, rows = plain.iter_queries(0, plain.n_queries), 0.0
    for model in dots().values():
        rows += zscore_rows(
            model.encode_queries(queries) @ model.encode_gallery(plain.gallery_images()).T
        )
    drawn = np.random.default_rng(0).integers(1, 6, len(queries))
    best = np.argsort(-rows, axis=1)[np.arange(len(queries)), drawn]
    targets = pl.Series([[plain.gallery_ids[column]] for column in best])
    return replace(plain, queries=plain.queries.with_columns(targets=targets))


@pytest.fixture(scope="module")
def bank(dataset):
    return make_dataset(n_images=N, n_queries=50, seed=1)


@pytest.fixture(scope="module")
def index(dataset, bank, tmp_path_factory):
    return build_index(tmp_path_factory.mktemp("large"), dataset, dots(), bank=bank)


@pytest.fixture(scope="module")
def stack(dataset, tmp_path_factory):
    return dafm.score(dataset, dots(), store=tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def fitted(stack):
    catalog = PluginCatalog.discover()
    trained = stack.take_queries(stack.query_ids[:40])
    return {n: catalog.load_fuser(n, options).fit(trained) for n, options in FUSERS.items()}


def asked(dataset, rows, k=20, **more):
    queries = dataset.iter_queries(0, dataset.n_queries)
    return [
        Request(references=[r.id for r in queries[i].references], text=queries[i].text, k=k, **more)
        for i in rows
    ]


def shared(some, others):
    """Return the share of hits that two answers to each query have in common."""
    pairs = zip(some, others, strict=True)
    return np.mean([len(set(a.image_ids) & set(b.image_ids)) / len(b.hits) for a, b in pairs])


def test_channels_are_those_of_whole_rows(index, stack, fitted, monkeypatch):
    """With every image in the sample nothing is estimated."""
    monkeypatch.setattr(others, "N_SAMPLE", N)
    fuser = with_bank(fitted["light"], index)
    reader, _ = fuser.readied(index.gallery, ("gallery",))
    models, knowledge = dots(), Knowledge.of(index)
    for row in range(40, 44):
        query = stack.dataset.iter_queries(row, row + 1)
        tile = stack.tile(row, row + 1)
        whole = reader.read(tile)
        excluded = stack.dataset.excluded[row]
        near = np.argsort(-tile[0], axis=1)[:, :120]
        chosen = np.setdiff1d(near, excluded)
        queries = {name: models[name].encode_queries(query)[0] for name in index.names}
        rows = knowledge.rows(queries, chosen, excluded, has_bank=True)
        closed = ClosedView(reader, rows)
        np.testing.assert_allclose(closed.context(), whole.context(), rtol=1e-3, atol=1e-3)
        ranks = reader.layout.of_families({"ranks"})  # between two images: up to half a rank off
        for which, far in ((ranks, 0.3), (~ranks, 2e-3)):
            np.testing.assert_allclose(
                closed.channels()[0][which],
                whole.channels()[0][which][:, chosen],
                rtol=1e-3,
                atol=far,
            )


def test_ranks_lean_on_the_first_images_where_those_are_known(index, stack, fitted, monkeypatch):
    """Each image of the sample stands for ten: between those a rank is read from a line."""
    monkeypatch.setattr(others, "N_SAMPLE", N // 10)
    reader, _ = with_bank(fitted["light"], index).readied(index.gallery, ("gallery",))
    models, knowledge, which = dots(), Knowledge.of(index), reader.layout.of_families({"ranks"})
    errors = {0: [], 40: []}
    for row in range(40, 52):
        query = stack.dataset.iter_queries(row, row + 1)
        queries = {name: models[name].encode_queries(query)[0] for name in index.names}
        none = np.empty(0, np.int64)
        every = knowledge.rows(queries, np.arange(N), none, has_bank=True)
        chosen = np.unique([np.argsort(-one.evidence)[:40] for one in every])
        whole = ClosedView(reader, every).channels()[0][which][:, chosen]
        for n_first, found in errors.items():
            rows = knowledge.rows(queries, chosen, none, has_bank=True, n_first=n_first)
            found.append(np.abs(ClosedView(reader, rows).channels()[0][which] - whole).mean())
    assert np.mean(errors[40]) < min(0.06, np.mean(errors[0]))


def test_a_score_as_the_bank_sees_it_is_an_inner_product(index, dataset):
    """Z-scores less the mean, over the spread, that the bank gives each image."""
    every = np.arange(index.n_images)
    knowledge, cells = Knowledge.of(index), index.bank.at(every)
    for name, vectors in spaces(index)["seen"].items():
        query = dots()[name].encode_queries(dataset.iter_queries(0, 1))[0]
        z = zscore_rows((index.features(name).whole() @ query)[None])[0]
        expected = (z - cells[name].mean) / cells[name].std
        direction = seen_direction(query, knowledge.row(name, query))
        np.testing.assert_allclose(vectors.take(every) @ direction, expected, atol=2e-4)


@pytest.mark.parametrize("which", ["raw", "seen"])
def test_an_engine_scores_what_it_finds_as_a_scan_does(which, tmp_path, dataset, bank):
    """What was added since is scanned, and stands between what the engine found."""
    pytest.importorskip("faiss", reason="faiss is the extra dafm-core[faiss]")
    index = build_index(tmp_path / "index", dataset, dots(), bank=bank)
    engine = build_engine(index, "scan16")[which]
    space = spaces(index)[which]
    knowledge, query = Knowledge.of(index), dataset.iter_queries(0, 1)
    whole = {}
    for name, model in dots().items():
        vector = model.encode_queries(query)[0]
        row = knowledge.row(name, vector)
        whole[name] = seen_direction(vector, row) if which == "seen" else vector
    for direction in (whole, {"near": whole["near"]}):
        ((columns, scores),) = engine.search([direction], 40, None)
        exact = sum(space[name].take(columns) @ vector for name, vector in direction.items())
        np.testing.assert_allclose(scores, exact, atol=0.02 * np.abs(exact).max())


@pytest.mark.parametrize("name", FUSERS)
def test_two_stages_find_what_whole_rows_rank_first(name, index, dataset, fitted, monkeypatch):
    monkeypatch.setattr(others, "N_SAMPLE", 600)
    used = Search(index, fitted[name], providers=dots(), nearest=200)
    whole = Search(index, fitted[name], providers=dots(), nearest=N)
    requests = asked(dataset, range(40, 50))
    few, every = used.batch(requests), whole.batch(requests)
    assert shared(few, every) > 0.95
    assert all(a.n_scored < N == b.n_scored for a, b in zip(few, every, strict=True))
    assert all(a.estimated and not b.estimated for a, b in zip(few, every, strict=True))
    for a, b in zip(few, every, strict=True):
        assert [h.image_id for h in a.singles["near"]] == [h.image_id for h in b.singles["near"]]
        if name == "weighted":
            assert a.image_ids == b.image_ids
            scores = [[h.score for h in answer.hits] for answer in (a, b)]
            np.testing.assert_allclose(*scores, rtol=1e-3)


def test_a_filter_and_a_lost_provider_in_two_stages(index, dataset, fitted):
    broken = dots()
    broken["near"].fails_on = "text 41"
    used = Search(index, fitted["light"], providers=broken, nearest=200)
    some = [f"img{i:03d}" for i in range(0, N, 3)]
    answers = used.batch(asked(dataset, range(40, 43), filter=some))
    assert [set(a.left_out) for a in answers] == [set(), {"near"}, set()]
    for answer, row in zip(answers, range(40, 43), strict=True):
        assert len(answer.hits) == 20
        assert set(answer.image_ids) <= set(some)
        reference = dataset.iter_queries(row, row + 1)[0].references[0].id
        assert reference not in answer.image_ids
        plain = {h.image_id: h.score for h in used.batch(asked(dataset, [row], k=200))[0].hits}
        for hit in answer.hits:  # a filter changes no score, but for what is estimated
            if hit.image_id in plain:
                assert hit.score == pytest.approx(plain[hit.image_id], rel=0.05, abs=0.05)


def test_a_large_index_that_changes_keeps_what_it_knows(tmp_path, dataset, bank, fitted):
    path = tmp_path / "index"
    build_index(path, dataset.take_gallery(dataset.gallery_ids[: N - 50]), dots(), bank=bank)
    folder = next(path.glob("bank-*"))
    before = (folder / "part-0.npy").stat().st_mtime_ns
    used = dots()
    index = add_images(path, dataset, providers=used)
    assert used["near"].n_encoded == 50
    assert (folder / "part-0.npy").stat().st_mtime_ns == before
    index = remove_images(path, ["img005", "img1190"], providers=dots())
    index.verify()
    codes = read_codes(index)
    assert codes.sizes == [N - 50, 50]
    assert index.manifest.codes["made_of"] == 1
    assert "52 images came or went" in index.manifest.notes[-1]
    rest = dataset.take_gallery([i for i in dataset.gallery_ids if i not in ("img005", "img1190")])
    whole = build_index(tmp_path / "whole", rest, dots(), bank=bank)
    for name in index.names:
        assert index.moments[name].n == N - 2
        for grown, made in zip(
            vars(index.moments[name]).values(), vars(whole.moments[name]).values(), strict=True
        ):
            assert grown.shape == made.shape
    grown, made = index.bank, whole.bank
    order = np.array([index.ids.place[i] for i in whole.ids])
    np.testing.assert_allclose(
        grown.statistics.mean[:, order], made.statistics.mean, rtol=0.05, atol=0.05
    )
    requests = asked(rest, range(40, 50))
    fuser = fitted["debiased"]
    a = Search(index, fuser, providers=dots(), nearest=200).batch(requests)
    b = Search(whole, fuser, providers=dots(), nearest=200).batch(requests)
    assert shared(a, b) > 0.9
    assert a[0].notes == index.manifest.notes


def test_an_index_without_codes_is_scanned_and_finds_the_same(index, dataset, fitted, tmp_path):
    """As one is that an earlier version built."""
    path = tmp_path / "older"
    shutil.copytree(index.path, path)
    replace(index.manifest, codes={}).write(path)
    older, requests = dafm.GalleryIndex.open(path), asked(dataset, range(40, 46))
    for name in ("weighted", "debiased"):
        scanned, coded = (
            Search(one, fitted[name], providers=dots(), nearest=200).batch(requests)
            for one in (older, index)
        )
        assert "codes of eight bits" not in scanned[0].estimated[0]
        assert "codes of eight bits" in coded[0].estimated[0]
        assert shared(scanned, coded) > 0.95


def test_a_damaged_code_is_noticed(index, tmp_path):
    path = tmp_path / "index"
    shutil.copytree(index.path, path)
    file = next(path.glob("codes-*/near.first-0.npy"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"near\.first-0\.npy: does not match its checksum"):
        dafm.GalleryIndex.open(path)


def test_many_queries_of_a_large_gallery_are_answered_by_machine_code(
    index, dataset, fitted, monkeypatch
):
    monkeypatch.setattr(finding, "code_loops", lambda: LOOPS)
    monkeypatch.setattr(finding, "MANY", 2)
    used = Search(index, fitted["debiased"], providers=dots(), nearest=100)
    first = used.batch(asked(dataset, range(40, 42)))
    finder = used._prepared._finder[0]
    finder.later.wait()
    assert finder._screen._loops is LOOPS
    again = used.batch(asked(dataset, range(40, 42)))
    assert [a.image_ids for a in first] == [b.image_ids for b in again]


def test_an_engine_finds_what_a_scan_finds(tmp_path, dataset, bank, fitted):
    pytest.importorskip("faiss", reason="faiss is the extra dafm-core[faiss]")
    path = tmp_path / "index"
    part = dataset.take_gallery(dataset.gallery_ids[: N - 50])
    index = build_index(path, part, dots(), bank=bank)
    requests = asked(part, range(40, 50))
    exact = Search(index, fitted["weighted"], providers=dots(), nearest=200).batch(requests)
    for kind in ("ivf", "scan8", "scan16"):
        engines = build_engine(index, kind)
        assert set(engines) == {"raw", "seen"}
        assert all(engine.recall > 0.95 for engine in engines.values())
        found = Search(index, fitted["weighted"], providers=dots(), nearest=200).batch(requests)
        assert shared(exact, found) > 0.95
        assert "by an engine" in found[0].estimated[0]
    exact = Search(index, fitted["debiased"], providers=dots(), nearest=N).batch(requests)
    found = Search(index, fitted["debiased"], providers=dots(), nearest=200).batch(requests)
    assert shared(exact, found) > 0.95
    # what is added is found at once, what is removed never
    index = add_images(path, dataset, providers=dots())
    used = Search(index, fitted["weighted"], providers=dots(), nearest=200)
    answer = used.batch([Request(references=["img1180"], text="", exclude=(), k=5)])[0]
    assert "img1180" in {hit.image_id for hit in answer.singles["near"]}
    index = remove_images(path, ["img1180", "img010"], providers=dots())
    used = Search(index, fitted["weighted"], providers=dots(), nearest=200)
    answer = used.batch([Request(references=["img011"], text="", exclude=(), k=300)])[0]
    assert not {"img1180", "img010"} & set(answer.image_ids)


def test_a_small_gallery_may_have_an_engine_and_is_ranked_as_before(
    tmp_path, dataset, bank, fitted, monkeypatch
):
    pytest.importorskip("faiss", reason="faiss is the extra dafm-core[faiss]")
    monkeypatch.setattr(state, "MAX_NEIGHBOURS", 30_000)
    index = build_index(tmp_path / "index", dataset, dots(), bank=bank)
    requests = asked(dataset, range(40, 43))
    before = Search(index, fitted["debiased"], providers=dots()).batch(requests)
    assert set(build_engine(index)) == {"raw"}
    after = Search(index, fitted["debiased"], providers=dots()).batch(requests)
    assert [a.image_ids for a in after] == [b.image_ids for b in before]


def test_an_engine_of_other_features_is_noticed(tmp_path, dataset, fitted):
    pytest.importorskip("faiss", reason="faiss is the extra dafm-core[faiss]")
    index = build_index(tmp_path / "a", dataset, dots())
    build_engine(index, "scan16")
    other = build_index(tmp_path / "b", dataset, dots(), dtype="float16")
    shutil.copytree(index.path / "engine-1", other.path / "engine-1")
    shutil.copy(index.path / "engine.json", other.path / "engine.json")
    answer = Search(other, dafm.MeanFusion(), providers=dots(), nearest=200).batch(
        asked(dataset, [40])
    )[0]
    assert "engine: made of other features" in answer.notes[-1]
    with pytest.raises(OptionError, match="expected ivf, scan8"):
        build_engine(index, "ann")
    file = index.path / "engine-1" / "raw.bin"
    whole = file.read_bytes()
    for damaged, said in (
        (whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], "does not match its checksum"),
        (whole[: len(whole) // 2], "does not match its checksum"),
        (None, "is missing"),
    ):
        file.unlink()
        if damaged is not None:
            file.write_bytes(damaged)
        with pytest.raises(StoreError, match=f"raw.bin: {said}. Make the engine again: dafm index"):
            Search(dafm.GalleryIndex.open(index.path), dafm.MeanFusion(), providers=dots())
    build_engine(index, "scan16")
    assert not file.parent.exists()
    Search(dafm.GalleryIndex.open(index.path), dafm.MeanFusion(), providers=dots())


def test_a_streamed_bank_is_that_of_all_scores_together(dataset, bank, tmp_path, monkeypatch):
    """Models wide enough for every topic; whatever the blocks."""
    monkeypatch.setattr(streamed, "BLOCK_CELLS", 50 * 130)
    wide = {"one": Dot(1, 60), "skewed": Dot(2, 70, skew=0.5)}
    queries = as_bank(bank, dataset, protocol="index-bank")
    whole = QueryBank.of(dafm.score(queries, wide, store=tmp_path / "store"))
    made = build_index(tmp_path / "index", dataset, wide, bank=bank).bank
    for found, expected in (
        (made.statistics.mean, whole.statistics.mean),
        (made.statistics.std, whole.statistics.std),
        (made.reverse_ranks.thresholds, whole.reverse_ranks.thresholds),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    rows = np.random.default_rng(0).normal(size=(4, 2, N)).astype(np.float32)
    found, expected = (b.topics.project(rows) for b in (made, whole))
    np.testing.assert_allclose(found, expected, atol=0.01 * expected.std())
