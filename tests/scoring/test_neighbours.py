"""Neighbours are the highest cosines, itself left out."""

import numpy as np
import pytest

from dafm_core.scoring.neighbours import nearest_neighbours, neighbours_wanted


@pytest.mark.parametrize("block_rows", [3, 100])
def test_neighbours_are_those_of_a_naive_loop(rng, block_rows):
    features = rng.standard_normal((11, 4)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    nearest = nearest_neighbours(features, n_neighbours=3, block_rows=block_rows)
    for i, row in enumerate(nearest):
        others = sorted((j for j in range(11) if j != i), key=lambda j: -(unit[i] @ unit[j]))
        assert row.tolist() == others[:3]


def test_several_vectors_per_candidate_are_averaged(rng):
    tokens = rng.standard_normal((6, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(nearest_neighbours(tokens), nearest_neighbours(tokens.mean(1)))


@pytest.mark.parametrize("shape", [(1, 4), (5, 0), (5,)])
def test_nothing_to_compare_gives_none(shape):
    assert nearest_neighbours(np.ones(shape, np.float32)) is None


@pytest.mark.parametrize(
    ("n_gallery", "asked", "wanted"),
    [(50_000, None, True), (50_001, None, False), (10**6, True, True), (10, False, False)],
)
def test_a_large_gallery_gets_them_only_when_asked(caplog, n_gallery, asked, wanted):
    assert neighbours_wanted(n_gallery, asked=asked) == wanted
    assert ("--neighbours" in caplog.text) == (asked is None and not wanted)
