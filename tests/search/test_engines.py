"""Engines keep the protocol: what is held is found by its name, what is removed never."""

import numpy as np
import pytest

faiss = pytest.importorskip("faiss", reason="faiss is the extra dafm-core[faiss]")

from dafm_core.search.faiss_engine import FaissEngine  # noqa: E402

N, WIDTH = 2000, 9


@pytest.fixture
def vectors(rng):
    made = rng.normal(size=(N + 10, WIDTH)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["ivf", "scan8", "scan16"])
def test_names_stay_whatever_is_added_removed_or_saved(kind, vectors, tmp_path):
    engine = FaissEngine.build(kind, N, lambda: iter((vectors[:700], vectors[700:N])))
    engine.add(vectors[N:], np.arange(N, N + 10))
    engine.effort = engine.efforts[-1]
    asked = [3, 900, N + 5]
    for _ in range(2):
        found, scores = engine.search(vectors[asked], 40)
        assert all(name in row for name, row in zip(asked, found.tolist(), strict=True))
        assert (np.diff(scores) <= 0).all()
        engine.save(tmp_path / "engine")
        engine = FaissEngine.open(tmp_path / "engine")
        engine.effort = engine.efforts[-1]
    only = np.arange(N + 10) % 2 == 0
    assert (engine.search(vectors[asked], 40, only)[0] % 2 == 0).all()


@pytest.mark.parametrize("kind", ["ivf", "scan8", "scan16"])
def test_what_is_removed_is_found_no_more_and_others_keep_their_names(kind, vectors):
    engine = FaissEngine.build(kind, N, lambda: iter((vectors[:N],)))
    engine.effort = engine.efforts[-1]
    engine.remove(np.array([0, 900]))
    found = engine.search(vectors[[0, 1, 900, 1500]], 40)[0].tolist()
    assert not any({0, 900} & set(row) for row in found)
    assert 1 in found[1]
    assert 1500 in found[3]
    engine.add(vectors[N:], np.arange(N, N + 10))  # after a removal, too, no name is used twice
    found = engine.search(vectors[[N - 1, N + 5]], 40)[0].tolist()
    assert N - 1 in found[0]
    assert N + 5 in found[1]


@pytest.mark.parametrize("n", [1, 2, 15, 40, 639])
def test_few_vectors_are_scanned_whatever_the_kind(n, vectors, capfd):
    engine = FaissEngine.build("ivf", n, lambda: iter((vectors[:n],)))
    names = engine.search(vectors[:n], 3)[0]
    assert names[:, 0].tolist() == list(range(n))
    assert (names[0] == -1).sum() == max(0, 3 - n)
    assert capfd.readouterr().err == ""
