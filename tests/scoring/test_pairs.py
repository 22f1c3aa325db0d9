"""Pair providers into the store: shortlists, resuming, cost, refusals."""

import json

import numpy as np
import pytest

from dafm_core.errors import OptionError, ProviderError, SimilarityError, StoreError
from dafm_core.scoring.pairs import require_shortlist, score_pairs
from dafm_core.scoring.score import score_provider
from dafm_core.scoring.shortlists import shortlist_of
from dafm_core.store.locks import writing
from dafm_core.store.shortlist import Shortlist
from dafm_core.store.store import SimilarityStore
from dafm_core.testing import check_provider


class Verifier:
    """Scores a pair by numbers drawn from its ids; counts its calls."""

    fingerprint = {"seed": "7"}  # noqa: RUF012

    def __init__(self, fail_at=None, answer=None):
        self.fail_at = fail_at
        self.answer = answer
        self.asked = []

    def score_pairs(self, queries, candidates):
        for query, images in zip(queries, candidates, strict=True):
            if query.id == self.fail_at:
                raise RuntimeError("out of memory")
            self.asked += [(query.id, image.id) for image in images]
        if self.answer is not None:
            return self.answer([len(images) for images in candidates])
        return [
            np.array([self._draw(q, i) for i in images], np.float32)
            for q, images in zip(queries, candidates, strict=True)
        ]

    def _draw(self, query, image):
        return np.random.default_rng([*f"{query.text}/{image.id}".encode()]).normal()


@pytest.fixture
def store(tmp_path, dataset, make_provider):
    for name, seed in (("a", 0), ("b", 1)):
        score_provider(dataset, name, make_provider(seed), store=tmp_path / "s")
    return SimilarityStore.open(tmp_path / "s")


def run(store, dataset, provider, spec="union:4", **settings):
    candidates = shortlist_of(store, spec, name="v")
    return score_pairs(dataset, "v", provider, store=store.path, candidates=candidates, **settings)


def test_what_is_asked_is_stored_and_the_rest_is_not_asked(store, dataset):
    provider = Verifier()
    run(store, dataset, provider)
    stack = store.stack()
    assert stack.gallery.unknown == {"v": "not-asked"}
    tile = stack.tile(0, dataset.n_queries)[:, stack.names.index("v")]
    asked = {
        (dataset.query_ids[q], dataset.gallery_ids[c])
        for q, c in zip(*np.nonzero(np.isfinite(tile)), strict=True)
    }
    assert asked == set(provider.asked)
    assert len(provider.asked) == 4 * dataset.n_queries
    assert store.cost("v")["calls"] == 4 * dataset.n_queries
    assert store.cost("v")["calls_per_query"] == 4
    assert store.cost("v")["ms_per_call"] > 0
    facts = store.passport("v")["shortlist"]
    assert {k: facts[k] for k in ("from", "providers", "depth")} == {
        "from": "union", "providers": ["a", "b"], "depth": 4,
    }  # fmt: skip
    assert len(facts["sha256"]) == 64
    assert store.unfinished == ()


def test_a_union_takes_turns_and_leaves_excluded_candidates_out(store, dataset):
    columns = shortlist_of(store, "union:4", name="v").columns
    tile = store.stack().tile(0, dataset.n_queries)
    for row, chosen in enumerate(columns):
        a, b = (np.argsort(-tile[row, k], kind="stable") for k in (0, 1))
        expected = list(dict.fromkeys([c for pair in zip(a, b, strict=True) for c in pair]))[:4]
        assert chosen.tolist() == expected
        assert not np.isin(chosen, dataset.excluded[row]).any()


def test_one_providers_best(store, dataset):
    columns = shortlist_of(store, "provider:b:3", name="v").columns
    tile = store.stack(["b"]).tile(0, dataset.n_queries)[:, 0]
    assert [c.tolist() for c in columns] == np.argsort(-tile, kind="stable")[:, :3].tolist()


def test_a_killed_run_keeps_finished_queries(store, dataset):
    broken = Verifier(fail_at="q5")
    with pytest.raises(
        ProviderError, match=r"'v': raised RuntimeError: out of memory at query 'q5"
    ):
        run(store, dataset, broken)
    assert store.unfinished == ("v",)
    assert "v" not in store.providers
    log = store.path / "v" / "pairs.progress.jsonl"
    log.write_text(log.read_text() + '{"query": "q5", "scor')  # cut short by the kill
    again = Verifier()
    run(store, dataset, again)
    assert {query for query, _ in again.asked} == set(dataset.query_ids) - {
        f"q{i}" for i in range(5)
    }
    whole = store.scores("v").frame(dataset)
    run(store, dataset, Verifier(), overwrite=True)
    assert store.scores("v").frame(dataset).equals(whole)
    assert store.unfinished == ()


def test_a_finished_one_is_not_asked_again_and_another_is_refused(store, dataset):
    run(store, dataset, Verifier())
    again = Verifier()
    run(store, dataset, again)
    assert again.asked == []
    with pytest.raises(StoreError, match="differs in shortlist"):
        run(store, dataset, Verifier(), spec="union:5")


def test_an_interrupted_one_is_resumed_under_the_same_shortlist_only(store, dataset):
    with pytest.raises(ProviderError):
        run(store, dataset, Verifier(fail_at="q5"))
    with pytest.raises(StoreError, match="interrupted run had another shortlist"):
        run(store, dataset, Verifier(), spec="provider:a:4")
    run(store, dataset, Verifier(), spec="provider:a:4", overwrite=True)
    assert store.passport("v")["shortlist"]["providers"] == ["a"]


def write_rows(store, dataset, **settings):
    with store.writer("v", passport={"source": "test"}, **settings) as writer:
        for start, stop in writer.pending():
            writer.write(start, np.ones((stop - start, dataset.n_gallery)))


def write_lists(store, dataset, *, overwrite=False):
    lists = Shortlist.of_lists(
        [np.array([0, 1])] * dataset.n_queries, [np.ones(2)] * dataset.n_queries, dataset.n_gallery
    )
    with store.replacing_answers("v", overwrite=overwrite):
        store.write_shortlist(
            "v", lists, passport={"source": "test"}, unknown="below", overwrite=overwrite
        )


@pytest.mark.parametrize("write", [write_rows, write_lists])
def test_answers_go_only_when_it_is_said(store, dataset, write):
    with pytest.raises(ProviderError):
        run(store, dataset, Verifier(fail_at="q5"))
    with pytest.raises(StoreError, match=r"'v' is an interrupted run over pairs.*--overwrite"):
        write(store, dataset)
    with (
        writing(store.path, "v.pairs"),
        pytest.raises(StoreError, match=r"another process is writing 'v\.pairs'"),
    ):
        write(store, dataset, overwrite=True)
    assert store.unfinished == ("v",)
    write(store, dataset, overwrite=True)
    assert (store.providers, store.unfinished) == (("a", "b", "v"), ())
    assert not list((store.path / "v").glob("pairs*"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda n: [np.zeros(n[0] - 1, np.float32)],
            r"one array of 4 scores for query 'q0', got 1",
        ),
        (lambda n: [], "got 0 arrays"),
        (lambda n: [np.full(n[0], np.nan, np.float32)], r"finite scores, got nan for query 'q0'"),
        (lambda n: [np.full(n[0], np.inf, np.float32)], r"got inf for query 'q0', image 'img"),
    ],
)
def test_bad_answers_are_named_and_not_kept(store, dataset, answer, message):
    with pytest.raises(SimilarityError, match=message):
        run(store, dataset, Verifier(answer=answer))
    lines = (store.path / "v" / "pairs.progress.jsonl").read_text().splitlines()
    assert len(lines) == 1  # nothing but what is scored
    assert json.loads(lines[0])["unknown"] == "not-asked"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("union", r"expected union:N, provider:NAME:N or run:FILE, got 'union'"),
        ("union:0", "got 'union:0'"),
        ("union:x", "got 'union:x'"),
        ("provider:a", "got 'provider:a'"),
        ("best:5", "got 'best:5'"),
        ("provider:c:5", "provider 'c' is not scored in"),
        ("provider:v:5", "provider 'v' is not scored in"),
    ],
)
def test_bad_specs(store, spec, message):
    with pytest.raises(OptionError, match=message):
        shortlist_of(store, spec, name="v")


def test_a_pair_provider_needs_a_shortlist_and_others_have_none(tmp_path, dataset):
    with pytest.raises(OptionError, match="'v': scores pairs, and so needs a shortlist"):
        require_shortlist("v", is_pair=True, spec=None)
    with pytest.raises(OptionError, match=r"'a': scores the whole gallery\. Leave"):
        require_shortlist("a", is_pair=False, spec="union:50")
    with pytest.raises(ProviderError, match="needs a shortlist"):
        score_provider(dataset, "v", Verifier(), store=tmp_path / "new")
    assert not (tmp_path / "new").exists()


class Sloppy(Verifier):
    """Scores that depend on the shortlist."""

    def score_pairs(self, queries, candidates):
        scores = super().score_pairs(queries, candidates)
        return [row - row.mean() if len(row) else row for row in scores]


def test_conformance_checks_find_what_is_wrong():
    results = check_provider(Verifier())
    assert {result.name for result in results if result.outcome != "passed"} == {"broken_images"}
    assert not any(result.outcome == "failed" for result in results)  # it looks at no picture
    failed = {result.name for result in check_provider(Sloppy()) if result.outcome == "failed"}
    assert "pairs_apart" in failed
