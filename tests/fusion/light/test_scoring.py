"""Scoring by NumPy, against torch's own forward pass of the same networks."""

import numpy as np
import pytest
import torch

import dafm_core.fusion.light.scoring as scoring
from dafm_core.fusion.light.network import ResidualFusion
from dafm_core.fusion.light.scoring import mean_score, to_arrays


def random_networks(n):
    generator = torch.Generator().manual_seed(0)
    networks = [ResidualFusion(8, 6, 16, generator=generator) for _ in range(n)]
    with torch.no_grad():
        for network in networks:
            for parameter in network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return networks


@pytest.fixture
def tile(rng):
    channels = rng.normal(size=(4, 8, 50)).astype(np.float32)
    return channels, rng.normal(size=(4, 6)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 5])
def test_it_is_the_mean_of_the_networks_in_torch(tile, n):
    networks = random_networks(n)
    with torch.inference_mode():
        outputs = [network(*map(torch.from_numpy, tile)).numpy() for network in networks]
    scores = mean_score(to_arrays(networks), *tile)
    assert (scores.dtype, scores.shape) == (np.float32, (4, 50))
    np.testing.assert_allclose(scores, np.mean(outputs, axis=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1, 7, 49, 50])
def test_blocks_of_candidates_change_nothing(tile, monkeypatch, size):
    arrays = to_arrays(random_networks(2))
    whole = mean_score(arrays, *tile)
    monkeypatch.setattr(scoring, "BLOCK_CELLS", size)
    np.testing.assert_allclose(mean_score(arrays, *tile), whole, atol=1e-5)


def test_without_networks_there_is_nothing_to_keep():
    assert to_arrays([]) == {}
