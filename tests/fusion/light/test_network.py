"""Networks: size, starting point, and which of them mixes candidates."""

import pytest
import torch

from dafm_core.fusion.light.network import MAX_PARAMETERS, PaperNetwork, ResidualFusion


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def randomise(network, generator):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network


def test_the_residual_starts_at_nothing(generator):
    network = ResidualFusion(8, 6, 16, generator=generator)
    scores = network(torch.randn(3, 8, 5), torch.randn(3, 6))
    assert scores.shape == (3, 5)
    assert not scores.any()


def test_the_residual_takes_every_candidate_by_itself(generator):
    network = randomise(ResidualFusion(8, 6, 16, generator=generator), generator)
    channels, context, order = torch.randn(3, 8, 5), torch.randn(3, 6), torch.randperm(5)
    scores = network(channels, context)
    torch.testing.assert_close(network(channels[:, :, order], context), scores[:, order])
    torch.testing.assert_close(network(channels[1:2], context[1:2]), scores[1:2])
    assert not torch.allclose(network(channels, context + 1), scores)


def test_the_papers_network_mixes_neighbours_in_file_order(generator):
    network = randomise(PaperNetwork(4, generator=generator), generator)
    channels = torch.randn(2, 4, 9)
    scores = network(channels)
    moved = channels.clone()
    moved[:, :, 4] += 1
    changed = (network(moved) != scores).any(dim=0)
    assert changed.tolist() == [j in (3, 4, 5) for j in range(9)]


def test_the_papers_network_is_equations_three_to_five(generator):
    network = randomise(PaperNetwork(3, n_hidden=2, generator=generator), generator)
    stack = torch.randn(1, 3, 4)
    up = torch.einsum("hk,bkn->bhn", network.light.up.weight[:, :, 0], stack)
    padded = torch.nn.functional.pad(up + network.light.up.bias[:, None], (1, 1))
    taps = network.light.local.weight[:, 0]
    mixed = sum(padded[:, :, i : i + 4] * taps[:, i, None] for i in range(3))
    mixed = torch.nn.functional.gelu(mixed + network.light.local.bias[:, None])
    down = torch.einsum("kh,bhn->bkn", network.light.down.weight[:, :, 0], mixed)
    y = stack + down + network.light.down.bias[:, None]
    expected = torch.einsum("k,bkn->bn", network.weigh.weight[0, :, 0], y)
    torch.testing.assert_close(network(stack), expected)


def test_networks_stay_below_the_papers_bound(generator):
    for network in (
        ResidualFusion(40, 50, 64, generator=generator),
        PaperNetwork(10, 64, generator=generator),
    ):
        assert sum(p.numel() for p in network.parameters()) < MAX_PARAMETERS
    with pytest.raises(ValueError, match="fewer than 100000 parameters, got"):
        ResidualFusion(16, 20, 4000, generator=generator)
