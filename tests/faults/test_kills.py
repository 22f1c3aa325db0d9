"""Killed at any line, the writing code leaves the old, the new, or what the next run finishes."""

import json
import shutil
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import polars as pl
import pytest

from dafm_core.core_plugin import STATIC_FUSERS
from dafm_core.errors import ProviderError, StoreError
from dafm_core.formats.fitted import FusedBlocks
from dafm_core.formats.importing import import_scores
from dafm_core.formats.runs import write_run
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.fusion.static import WeightedFusion
from dafm_core.ground.files import write_json
from dafm_core.ground.ids import hash_strings
from dafm_core.scoring.feature_cache import cached_features
from dafm_core.scoring.pairs import score_pairs
from dafm_core.scoring.shortlists import shortlist_of
from dafm_core.store.editing import merge_stores, split_store
from dafm_core.store.shortlist import Shortlist
from dafm_core.store.store import SimilarityStore
from dafm_core.store.upgrade import upgrade
from tests.faults.campaigns.actions import compare, two
from tests.faults.conftest import content
from tests.faults.killing import files_below, states


@pytest.fixture
def matrix(dataset, rng):
    return rng.standard_normal((dataset.n_queries, dataset.n_gallery)).astype(np.float32)


@pytest.fixture
def shortlist(dataset, matrix):
    rows, columns = np.nonzero(matrix > 0.5)
    frame = pl.DataFrame(
        {
            "query": [dataset.query_ids[i] for i in rows],
            "candidate": [dataset.gallery_ids[j] for j in columns],
            "score": matrix[rows, columns],
        }
    )
    return Shortlist.align(frame, dataset, where="test")


def test_scoring_into_a_new_store(tmp_path, score, survive):
    whole = tmp_path / "whole" / "store"
    found = states(lambda: score(whole), whole)
    allowed = {name: [value] for name, value in content(whole).items()}
    survive(found, score, allowed=allowed, expected=files_below(whole))
    assert len(found) > 60


def replaced(tmp_path, survive, before, action):
    """Check every state while ``action`` replaces what ``before`` made."""
    store = tmp_path / "whole" / "store"
    before(store)
    old = content(store)
    found = states(lambda: action(store), store)
    new = content(store)
    allowed = {name: [old.get(name), new[name]] for name in new}
    survive(found, action, allowed=allowed, expected=files_below(store))


def test_a_second_provider(tmp_path, score, survive):
    replaced(tmp_path, survive, score, lambda folder: score(folder, seed=1, name="second"))


def test_replacing_a_finished_matrix(tmp_path, score, survive):
    replaced(tmp_path, survive, score, lambda folder: score(folder, seed=1, overwrite=True))


def test_importing_over_a_scored_matrix(tmp_path, score, survive, matrix):
    np.save(tmp_path / "mine.npy", matrix)

    def action(folder):
        store = SimilarityStore.open(folder)
        import_scores(store, "dot", tmp_path / "mine.npy", overwrite=True)

    replaced(tmp_path, survive, score, action)


def write_list(shortlist):
    return lambda folder: SimilarityStore.open(folder).write_shortlist(
        "dot", shortlist, passport={"source": "test"}, unknown="below", overwrite=True
    )


def test_a_shortlist_in_place_of_a_matrix(tmp_path, score, survive, shortlist):
    replaced(tmp_path, survive, score, write_list(shortlist))


def test_a_matrix_in_place_of_a_shortlist(tmp_path, dataset, score, survive, shortlist):
    def before(folder):
        SimilarityStore.create(folder, dataset)
        write_list(shortlist)(folder)

    replaced(tmp_path, survive, before, lambda folder: score(folder, overwrite=True))


def test_what_belonged_to_the_old_matrix_goes_with_it(tmp_path, score, shortlist, matrix):
    folder = tmp_path / "store"
    np.save(tmp_path / "mine.npy", matrix)
    score(folder)
    store = SimilarityStore.open(folder)
    assert store.cost("dot")
    write_list(shortlist)(folder)
    assert store.neighbours("dot") is None
    assert {p.name for p in (folder / "dot").iterdir()} == {"passport.json", "shortlist.parquet"}
    score(folder, overwrite=True)
    assert not (folder / "dot" / "shortlist.parquet").exists()
    import_scores(store, "dot", tmp_path / "mine.npy", overwrite=True)
    assert store.cost("dot") == {}
    assert store.neighbours("dot") is None


def test_splitting_and_merging(tmp_path, score, survive, dataset):
    source = tmp_path / "source"
    score(source)
    score(source, seed=1, name="second")
    halves = dataset.query_ids[:6], dataset.query_ids[6:]

    def split(folder, ids=halves[0]):
        split_store(SimilarityStore.open(source), ids, folder)

    for number, ids in enumerate(halves):
        split(tmp_path / f"half-{number}", ids)
    whole = tmp_path / "split" / "store"
    found = states(lambda: split(whole), whole)[::4]  # the campaigns kill at every line
    allowed = {name: [value] for name, value in content(whole).items()}
    survive(found, split, allowed=allowed, expected=files_below(whole))

    def merge(folder):
        parts = [SimilarityStore.open(tmp_path / f"half-{n}") for n in range(2)]
        merge_stores(parts, folder)

    whole = tmp_path / "merge" / "store"
    found = states(lambda: merge(whole), whole)[::4]
    assert content(whole) == content(source)
    allowed = {name: [value] for name, value in content(whole).items()}
    survive(found, merge, allowed=allowed, expected=files_below(whole))


class Verifier:
    """Scores pairs by the lengths of their texts; gives up at its n-th query."""

    fingerprint = MappingProxyType({"seed": "0"})

    def __init__(self, gives_up_at=100):
        self.left = gives_up_at

    def score_pairs(self, queries, candidates):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("out of budget")
        pairs = zip(queries, candidates, strict=True)
        return [np.array([len(q.text) + ord(i.id[-1]) for i in images]) for q, images in pairs]


def test_asking_a_verifier(tmp_path, score, dataset):
    """What was answered, perhaps for money, is never asked again; nothing is left behind."""
    store = tmp_path / "whole" / "store"

    def ask(folder, provider):
        candidates = shortlist_of(SimilarityStore.open(folder), "provider:dot:2", name="v")
        score_pairs(dataset, "v", provider, store=folder, candidates=candidates)

    score(store)
    with pytest.raises(ProviderError, match="out of budget"):
        ask(store, Verifier(5))
    found = states(lambda: ask(store, Verifier()), store)
    expected = files_below(store)
    for state in found[::3]:
        killed = state.restore(tmp_path / "killed")
        ask(killed, Verifier(dataset.n_queries - 5))
        assert files_below(killed) == expected, state.where


def as_format_1(folder, dataset):
    """Rewrite a store as the first release wrote it."""
    rows = dataset.queries.select("query_id", "references", "text").iter_rows()
    words = [word for query_id, (reference,), text in rows for word in (query_id, reference, text)]
    facts = {"queries_sha256": hash_strings(words), "format": 1}
    frame = dataset.queries.with_columns(reference=pl.col("references").list.first())
    frame = frame.drop("references", "grades", "candidates", "tags")
    frame.write_parquet(folder / "queries.parquet")
    for path in (folder / "store.json", *folder.glob("*/passport.json")):
        new = ("sha256", "truth_sha256", "files")
        old = {k: v for k, v in json.loads(path.read_text()).items() if k not in new}
        write_json(path, old | facts)


def test_upgrading(tmp_path, score, dataset):
    """Between the first passport and store.json a store says what to do; nothing is misread."""
    store = tmp_path / "whole" / "store"
    score(store)
    expected = content(store)
    as_format_1(store, dataset)
    assert content(store) == expected
    found = states(lambda: upgrade(store), store)
    for state in found:
        killed = state.restore(tmp_path / "killed")
        try:
            assert content(killed) == expected, state.where
        except StoreError:
            assert "format" in (killed / "store.json").read_text(), state.where
        upgrade(killed)
        assert content(killed) == expected, state.where
        assert files_below(killed) == files_below(store), state.where


def test_a_model_in_place_of_another(tmp_path, make_problem):
    """At every moment a model is the old one or the new one."""
    folder = tmp_path / "whole" / "model"
    fusers = [WeightedFusion().fit(make_problem(seed=seed)[1]) for seed in (0, 1)]

    def save(where, number):
        save_fuser(fusers[number], where, infos=STATIC_FUSERS)

    def weights(where):
        fuser = load_fuser(where, infos=STATIC_FUSERS)
        return fuser.record_.to_json(), [a.tobytes() for a in fuser.get_state()[0].values()]

    save(folder, 0)
    allowed = [weights(folder)]
    found = states(lambda: save(folder, 1), folder)
    allowed.append(weights(folder))
    assert allowed[0][1] != allowed[1][1]
    for state in found:
        for repeated in (0, 1):  # the same command again, or another training
            killed = state.restore(tmp_path / "killed")
            assert weights(killed) in allowed, state.where
            save(killed, repeated)
            assert weights(killed) == allowed[repeated], state.where
            names = {path.name for path in killed.iterdir()}
            assert names == {"fuser.json", "weights.safetensors"}, state.where


def test_a_model_killed_twice(tmp_path, make_problem):
    """What the first kill left is not lost to the second."""
    fusers = [WeightedFusion().fit(make_problem(seed=seed)[1]) for seed in range(3)]
    folder = tmp_path / "model"

    def save(where, number):
        save_fuser(fusers[number], where, infos=STATIC_FUSERS)

    def weights(where):
        return [a.tobytes() for a in load_fuser(where, infos=STATIC_FUSERS).get_state()[0].values()]

    save(folder, 0)
    for first in states(lambda: save(folder, 1), folder):
        killed = first.restore(tmp_path / "killed")
        allowed = [weights(killed)]
        again = states(lambda killed=killed: save(killed, 2), killed)
        allowed.append(weights(killed))
        for second in again:
            assert weights(second.restore(tmp_path / "twice")) in allowed, second.where


def test_a_comparison_in_place_of_another(tmp_path):
    """Each of its six files is the old or the new one at every moment; repeated, all are new."""
    folder = tmp_path / "whole"
    folder.mkdir()
    two(folder)
    compare(folder, "mean")
    allowed = [files_below(folder)]
    found = states(lambda: compare(folder), folder)
    allowed.append(files_below(folder))
    made = [name for name in allowed[1] if name.startswith("compared.")]
    assert len(made) == 6
    for state in found:
        for name in made:
            assert state.files[name] in [files[name] for files in allowed], state.where
    for state in found[::20]:
        state.restore(folder)  # under its own name, which stands in the files
        compare(folder)
        assert files_below(folder) == allowed[1], state.where


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".trec"])
def test_a_run_in_place_of_another(tmp_path, matrix, dataset, suffix):
    folder = tmp_path / "whole"

    def write(where, scores=matrix):
        ids = {"query_ids": dataset.query_ids, "gallery_ids": dataset.gallery_ids}
        write_run(where / f"run{suffix}", [(dataset.query_ids, scores)], **ids)

    write(folder, -matrix)
    names = files_below(folder).keys()
    allowed = [files_below(folder)]
    found = states(lambda: write(folder), folder)
    allowed.append(files_below(folder))
    for state in found:
        killed = state.restore(tmp_path / "killed")
        seen = files_below(killed)
        for name in names:
            assert seen[name] in [a[name] for a in allowed], state.where
        write(killed)
        assert files_below(killed) == allowed[1], state.where


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".trec"])
def test_a_run_never_stands_beside_the_ids_of_another(tmp_path, matrix, dataset, suffix):
    """Other ids, and other queries that the fusion was fitted on: old, new or nothing."""
    folder = tmp_path / "whole"

    def write(where, ids, fitted):
        blocks = FusedBlocks([(ids, matrix)], frozenset(fitted))
        write_run(
            where / f"run{suffix}", blocks, query_ids=ids, gallery_ids=dataset.gallery_ids, depth=5
        )

    last_first = dataset.query_ids[::-1]
    runs = [(dataset.query_ids, ()), (last_first, last_first[:3]), (last_first, ())]
    for old, new in pairwise(runs):
        shutil.rmtree(folder, ignore_errors=True)
        write(folder, *old)
        before = files_below(folder)
        found = states(lambda new=new: write(folder, *new), folder)
        after = files_below(folder)
        for state in found:
            killed = state.restore(tmp_path / "killed")
            seen = {n: c for n, c in files_below(killed).items() if not n.startswith(".")}
            assert f"run{suffix}" not in seen or seen in (before, after), state.where
            write(killed, *new)
            assert files_below(killed) == after, state.where


def test_features_in_the_cache(tmp_path, monkeypatch, dataset, make_provider):
    images, provider = dataset.gallery_images(), make_provider()
    whole = tmp_path / "whole"

    def encode(folder):
        monkeypatch.setenv("DAFM_CACHE", str(folder))
        return np.array(cached_features(images, provider.encode_gallery, fingerprint={"a": "1"}))

    monkeypatch.setattr("dafm_core.scoring.feature_cache.BLOCK_IMAGES", 4)
    features = []
    found = states(lambda: features.append(encode(whole)), whole)
    for state in found:
        killed = state.restore(tmp_path / "killed")
        np.testing.assert_array_equal(encode(killed), features[0], err_msg=state.where)
        assert files_below(killed) == files_below(whole), state.where


def test_removing_a_provider(tmp_path, score, survive):
    store = tmp_path / "whole" / "store"
    score(store)
    allowed = {name: [value] for name, value in content(store).items()}
    expected = files_below(store)
    found = states(lambda: SimilarityStore.open(store).remove("dot"), store)
    assert content(store) == {}
    survive(found, score, allowed=allowed, expected=expected)
    shutil.rmtree(store)
