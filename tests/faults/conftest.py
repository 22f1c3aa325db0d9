"""Small stores, and the law that every state a kill leaves must keep."""

import pytest

from dafm_core.scoring.score import score_provider
from dafm_core.store.store import SimilarityStore
from tests.faults.killing import files_below


@pytest.fixture
def score(dataset, make_provider):
    """Return a function that scores a factoring provider into a store, in blocks of 5 queries."""

    def run(store, *, seed=0, name="dot", **settings):
        provider = make_provider(seed)
        score_provider(dataset, name, provider, store=store, block_rows=5, **settings)

    return run


@pytest.fixture
def survive(tmp_path):
    """Return a check of states: readable as they are, and whole after the command is repeated."""

    def check(states, again, *, allowed, expected):
        failures = []
        for state in states:
            folder = state.restore(tmp_path / "killed" / "store")
            try:
                assert_whole(folder, allowed)
                again(folder)
                assert files_below(folder) == expected
            except Exception as error:
                failures.append(f"{state.where}: {type(error).__name__}: {str(error)[:200]}")
        text = "\n".join(failures)
        assert not failures, f"{len(failures)} of {len(states)} states\n{text}"

    return check


def content(folder):
    """Return the scores and neighbours of every provider that a store says it has."""
    if not (folder / "store.json").exists():
        return {}
    store = SimilarityStore.open(folder)
    found = {}
    for name in store.providers:
        assert store.verify(name) == []
        scores, nearest = store.scores(name), store.neighbours(name)
        found[name] = (
            scores.scores.tobytes() if hasattr(scores, "counts") else scores.tobytes(),
            None if nearest is None else nearest.tobytes(),
        )
    return found


def assert_whole(folder, allowed):
    """Whatever a store says is there must be readable, undamaged, and one of ``allowed``."""
    for name, value in content(folder).items():
        assert value in allowed[name], f"{name} is neither the old nor the new one"
    if (folder / "store.json").exists():
        assert SimilarityStore.open(folder).dataset.n_queries > 0
