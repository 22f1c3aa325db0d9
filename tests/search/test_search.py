"""Law 7, and what an answer says of a query that went half wrong."""

import threading
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import dafm_core as dafm
from dafm_core.catalog import PluginCatalog
from dafm_core.errors import AlignmentError, DatasetError, OptionError, ProviderError
from dafm_core.fusion.channels import cell_loops, choice_loops, row_loops, share_loops
from dafm_core.fusion.channels.compiled import RowLoops
from dafm_core.fusion.channels.opening import CompiledOpener
from dafm_core.search import quickening
from dafm_core.search.building import add_images, build_index
from dafm_core.search.requests import Request
from dafm_core.search.search import Search
from dafm_core.search.sources import Images

from .conftest import Dot, make_dataset, models
from .test_screen import LOOPS

FUSERS = [name for name in PluginCatalog.discover().fusers if name != "light-paper"]
QUICK = {"light": {"n_seeds": "1", "n_epochs": "3"}}


@pytest.fixture
def search(index, light):
    return Search(index, light, providers=models())


def ask(dataset, row, **more):
    query = dataset.iter_queries(row, row + 1)[0]
    return Request(references=[r.id for r in query.references], text=query.text, **more)


def assert_ranked_as(answer, scores, ids):
    """The hits are the best of a row, up to what rounding can exchange."""
    row = dict(zip(ids, scores.tolist(), strict=True))
    best = np.sort(scores)[::-1][: len(answer.hits)]
    got = [row[image_id] for image_id in answer.image_ids]
    np.testing.assert_allclose(got, best, rtol=1e-4, atol=1e-4 * np.ptp(best))
    np.testing.assert_allclose([hit.score for hit in answer.hits], got, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", FUSERS)
def test_law_7_a_small_gallery_is_ranked_as_its_stored_rows_are(name, stack, index):
    fuser = PluginCatalog.discover().load_fuser(name, QUICK.get(name)).fit(stack)
    rows = fuser.fuse(stack).scores
    search = Search(index, fuser, providers=models(), nearest=60)
    requests = [ask(stack.dataset, row, k=12) for row in range(5)]
    for row, answer in enumerate(search.batch(requests)):
        assert_ranked_as(answer, rows[row], stack.gallery_ids)
        assert not answer.estimated
        assert not answer.left_out


@pytest.mark.parametrize("options", [{"network": "linear"}, QUICK["light"]], ids=str)
def test_a_window_has_the_scores_of_whole_rows(options, stack, index):
    fuser = PluginCatalog.discover().load_fuser("light", options).fit(stack)
    narrow = Search(index, fuser, providers=models(), nearest=8)
    whole = Search(index, fuser, providers=models(), nearest=60)
    asked = range(8)
    few = narrow.batch([ask(stack.dataset, row, k=4) for row in asked])
    every = whole.batch([ask(stack.dataset, row, k=59) for row in asked])
    for a, b in zip(few, every, strict=True):
        assert 8 <= a.n_scored <= 32 < b.n_scored == 60
        assert a.estimated == ("ranked among the first 8 images of each provider",)
        scores = {hit.image_id: hit.score for hit in b.hits}
        for hit in a.hits:
            assert hit.score == pytest.approx(scores[hit.image_id], rel=1e-3, abs=1e-3)


def test_a_window_is_drawn_among_the_images_that_a_filter_lets_through(stack, index):
    fuser = dafm.LightFusion(network="linear").fit(stack)
    search = Search(index, fuser, providers=models(), nearest=3)
    some = [f"img{i:03d}" for i in range(0, 60, 3)]
    answer = search.batch([ask(stack.dataset, 1, k=5, filter=some)])[0]
    assert len(answer.hits) == 5
    assert set(answer.image_ids) <= set(some)


def test_a_batch_answers_as_single_queries_do(search, gallery):
    requests = [ask(gallery, row) for row in range(7)]
    together = [answer.image_ids for answer in search.batch(requests)]
    assert together == [search.batch([request])[0].image_ids for request in requests]


def test_threads_get_what_one_would(search, gallery):
    expected = [search.batch([ask(gallery, row)])[0].image_ids for row in range(16)]
    found = [None] * 16

    def work(row):
        found[row] = search.batch([ask(gallery, row)])[0].image_ids

    threads = [threading.Thread(target=work, args=(row,)) for row in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_a_hit_says_what_each_provider_says(search, gallery, stack, light):
    answer = search.query([r.id for r in gallery.iter_queries(0, 1)[0].references], "text 0", k=5)
    column = gallery.gallery_ids.place[answer.hits[0].image_id]
    opinion = answer.hits[0].opinions["near"]
    row = stack.tile(0, 1)[0, stack.names.index("near")]
    assert opinion.score == pytest.approx(row[column], rel=1e-5)
    assert opinion.rank == 1 + np.sum(row > row[column])
    rest = light.fuse(stack.select([n for n in stack.names if n != "near"])).scores[0]
    assert opinion.rank_without == 1 + np.sum(rest > rest[column])
    single = answer.singles["near"]
    assert [hit.score for hit in single] == sorted((h.score for h in single), reverse=True)
    assert single[0].score == pytest.approx(row.max(), rel=1e-5)


def test_a_provider_that_fails_is_left_out_and_said(index, light, gallery):
    broken = models()
    broken["near"].fails_on = "text 3"
    search = Search(index, light, providers=broken)
    answers = search.batch([ask(gallery, row) for row in range(5)])
    assert [set(a.left_out) for a in answers] == [set(), set(), set(), {"near"}, set()]
    assert "out of memory" in answers[3].left_out["near"]
    assert "near" not in answers[3].singles
    assert len(answers[3].hits) == 10


def test_a_fusion_that_cannot_do_without_a_provider_says_so(index, stack):
    broken = models()
    broken["near"].fails_on = ""
    search = Search(index, dafm.MeanFusion().fit(stack), providers=broken)
    with pytest.raises(AlignmentError, match="expected providers"):
        search.query(text="anything", references="img001")


def test_references_that_a_model_cannot_take(index, light):
    answer = Search(index, light, providers=models()).query(text="red")
    assert set(answer.left_out) == {"far", "skewed", "words"}
    assert "needs exactly one reference image, got 0" in answer.left_out["far"]
    broken = models()
    broken["near"].fails_on = "red"
    with pytest.raises(ProviderError, match="expected a provider that can answer it"):
        Search(index, light, providers=broken).query(text="red")


def test_a_filter_hides_and_changes_no_score(search, gallery):
    whole = search.batch([ask(gallery, 0, k=60)])[0]
    scores = {hit.image_id: hit.score for hit in whole.hits}
    some = ("img005", "img010", "img015")
    for condition in (some, pl.col("image_id").is_in(some), f"image_id IN {some}"):
        answer = search.batch([ask(gallery, 0, k=60, filter=condition)])[0]
        assert set(answer.image_ids) == set(some)
        assert {h.image_id: h.score for h in answer.hits} == {i: scores[i] for i in some}
        assert {h.image_id for h in answer.singles["near"]} == set(some)


def test_a_reference_of_the_gallery_is_no_hit_unless_asked_for(search):
    assert "img007" not in search.query("img007", "same", k=59).image_ids
    assert "img007" in search.query("img007", "same", k=60, exclude=()).image_ids


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"k": 0}, OptionError, "expected 1 to 60"),
        ({"k": 61}, OptionError, "got 61"),
        ({"text": "", "references": ()}, DatasetError, "expected a text or a reference"),
        ({"references": ["img999"]}, DatasetError, "neither an image of the gallery nor a file"),
        ({"exclude": ["nobody"]}, DatasetError, "no image 'nobody'"),
        ({"filter": ["nobody"]}, DatasetError, "no image 'nobody'"),
        ({"filter": "colour = 'red'"}, OptionError, "no column 'colour'"),
        ({"filter": "image_id ="}, OptionError, "cannot be read"),
        ({"filter": "length(image_id)"}, OptionError, "expected a condition"),
        ({"filter": "path = '/etc'"}, OptionError, "no column 'path'"),
        ({"text": "x" * 10_001}, DatasetError, "at most 10000"),
    ],
)
def test_bad_requests_are_one_clear_line(search, more, error, message):
    request = Request(**({"references": ["img001"], "text": "red"} | more))
    with pytest.raises(error, match=message):
        search.batch([request])


def test_models_other_than_the_index_or_the_fit_are_refused(index, light, stack):
    with pytest.raises(AlignmentError, match=r"provider 'near': expected seed '1'"):
        Search(index, light, providers=models() | {"near": Dot(9)})
    other = dafm.MeanFusion().fit(stack.select(["far", "near"]))
    with pytest.raises(AlignmentError, match="expected providers far, near"):
        Search(index, other, providers=models())


def test_a_pair_provider_is_asked_about_the_head(tmp_path):
    dataset = dafm.load_dataset("scenes", families="6")
    names = ["scenes-color", "scenes-words"]
    stack = dafm.score(dataset, names, store=tmp_path / "store")
    both = build_index(tmp_path / "index", dataset, [*names, "scenes-verifier"])
    request = ask(dataset, 0, k=10)
    fitted = dafm.LightFusion(network="linear").fit(stack)
    with pytest.raises(AlignmentError, match="expected providers"):
        Search(both, fitted)
    from dafm_core.scoring.pairs import score_pairs
    from dafm_core.scoring.shortlists import shortlist_of
    from dafm_core.store.store import SimilarityStore

    store = SimilarityStore.open(tmp_path / "store")
    verifier = PluginCatalog.discover().load_provider("scenes-verifier")
    listed = shortlist_of(store, "union:8", name="scenes-verifier")
    store = score_pairs(dataset, "scenes-verifier", verifier, store=store.path, candidates=listed)
    fuser = dafm.LightFusion(network="linear").fit(store.stack())
    answer = Search(both, fuser, budget=7).batch([request])[0]
    assert len(answer.singles["scenes-verifier"]) == 7
    asked = {hit.image_id for hit in answer.singles["scenes-verifier"]}
    said = [h.opinions["scenes-verifier"].score is not None for h in answer.hits]
    assert [hit.image_id in asked for hit in answer.hits] == said
    assert "scenes-verifier" not in Search(both, fuser, budget=0).batch([request])[0].singles


def test_features_made_elsewhere_answer_with_a_vector_of_the_query(tmp_path, rng):
    from dafm_core.search.offers import Offer

    vectors = rng.normal(size=(60, 4)).astype(np.float32)
    offer = Offer(
        provider=None,
        facts={"fingerprint": {}, "code": {}, "options": {"measure": "dot"}},
        references="any",
        features=lambda ids: vectors[[int(i[3:]) for i in ids]],
    )
    index = build_index(tmp_path / "index", make_dataset(), {"made": offer})
    search = Search(index, dafm.MeanFusion())
    vector = rng.normal(size=4)
    answer = search.query(vectors={"made": vector}, k=60)
    order = np.argsort(-(vectors @ vector.astype(np.float32)))
    assert list(answer.image_ids) == [f"img{i:03d}" for i in order]
    with pytest.raises(ProviderError, match="vector of its own"):
        search.query(text="red")
    with pytest.raises(ProviderError, match="expected a finite vector of 4"):
        search.query(vectors={"made": [1, 2, np.nan, 3]})


def test_a_grown_index_is_searched_at_once(tmp_path, gallery, light):
    path = tmp_path / "index"
    half = Images.of_dataset(gallery.take_gallery(gallery.gallery_ids[:40]))
    build_index(path, half, models(), bank=gallery)
    add_images(path, gallery, providers=models())
    whole = build_index(tmp_path / "whole", gallery, models(), bank=gallery)
    grown = dafm.GalleryIndex.open(path)
    assert set(grown.ids) == set(whole.ids)
    requests = [ask(gallery, row, k=30) for row in range(6)]
    for a, b in zip(
        Search(grown, light, providers=models()).batch(requests),
        Search(whole, light, providers=models()).batch(requests),
        strict=True,
    ):
        assert a.image_ids == b.image_ids


def python_loops():
    return RowLoops(
        row_loops.read_rows,
        share_loops.write_shares,
        choice_loops.choose,
        choice_loops.mark_hard,
        choice_loops.draw_around,
        cell_loops.write_channels,
    )


def test_many_queries_are_answered_by_machine_code_in_the_end(stack, index, monkeypatch):
    monkeypatch.setattr(quickening, "row_loops", python_loops)
    monkeypatch.setattr(quickening, "MANY", 2)
    light = dafm.LightFusion(network="linear").fit(stack)
    search = Search(index, light, providers=models(), nearest=8)
    first = [search.batch([ask(stack.dataset, row, k=4)])[0] for row in range(2)]
    lists = search._prepared.lists(index.names)
    lists.later.wait()
    again = [search.batch([ask(stack.dataset, row, k=4)])[0] for row in range(2)]
    assert isinstance(lists._stages._open, CompiledOpener)
    for one, other in zip(first, again, strict=True):
        assert one.image_ids == other.image_ids
        np.testing.assert_allclose(
            [hit.score for hit in one.hits], [hit.score for hit in other.hits], atol=1e-3
        )


@pytest.mark.parametrize("name", ["light", "debiased"])
def test_quick_rows_rank_as_whole_rows_do(name, tmp_path, monkeypatch):
    """A gallery in memory, of inner products alone: rounded but where an image may be a hit."""
    monkeypatch.setattr(quickening, "row_loops", python_loops)
    monkeypatch.setattr(quickening, "code_loops", lambda: LOOPS)
    monkeypatch.setattr(quickening, "MANY", 1)
    gallery = make_dataset(n_images=400, n_queries=40)
    dots = {"near": Dot(1, 12), "skewed": Dot(2, 8, skew=0.5)}
    for model in dots.values():
        model.references = "any"
    fuser = {"light": dafm.LightFusion(network="linear"), "debiased": dafm.DebiasedFusion()}[name]
    fuser.fit(dafm.score(gallery, dots, store=tmp_path / "store"))
    index = build_index(tmp_path / "index", gallery, dots, fuser=fuser)
    used, whole = (Search(index, fuser, providers=dots, nearest=n) for n in (60, 400))
    requests = [ask(gallery, row, k=8) for row in range(12)]
    used.batch(requests[:1])
    used._prepared.lists(index.names).later.wait()
    for one, other in zip(used.batch(requests), whole.batch(requests), strict=True):
        assert "rounded to eight bits" in one.estimated[-1]
        assert not other.estimated
        assert len(set(one.image_ids) & set(other.image_ids)) >= 7
        for name in index.names:
            assert [h.image_id for h in one.singles[name]] == [
                h.image_id for h in other.singles[name]
            ]
        exact = {hit.image_id: hit.opinions["near"] for hit in other.hits}
        for hit in one.hits:
            if hit.image_id in exact:
                opinion = hit.opinions["near"]
                assert opinion.score == pytest.approx(exact[hit.image_id].score, rel=1e-4)
                assert opinion.standardised == pytest.approx(
                    exact[hit.image_id].standardised, abs=0.02
                )
    explained = used.batch(requests[:1], explain=True)[0]
    assert not explained.estimated
    only = [f"img{i:03d}" for i in range(0, 400, 2)]
    filtered = used.batch([replace(requests[0], filter=only)])[0]
    assert set(filtered.image_ids) <= set(only)
