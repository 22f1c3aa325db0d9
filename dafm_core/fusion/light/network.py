"""The learned parts of LightFusion as nn.Modules: no I/O, no training, no options.

Both take channels (B, C, N), as inputs.py makes them, and return one score per candidate (B, N).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

MAX_PARAMETERS: Final = 100_000
"""The paper's bound on LightFusion, section 3; checked whenever a network is made."""


class ResidualFusion(nn.Module):
    """What a few hidden units add to a linear fusion; every candidate by itself.

    Starts at zero, so that the fusion starts at the linear solution. The row statistics of the
    query shift the hidden units: the same evidence can weigh differently for another query.

    Parameters
    ----------
    n_channels, n_context, n_hidden : int
    generator : torch.Generator
        Draws the initial weights.
    """

    def __init__(
        self, n_channels: int, n_context: int, n_hidden: int, *, generator: Generator
    ) -> None:
        super().__init__()
        self.evidence = nn.Linear(n_channels, n_hidden)
        self.query = nn.Parameter(torch.zeros(n_hidden, n_context))
        self.score = nn.Parameter(torch.zeros(n_hidden))
        _initialise(self.evidence, n_channels, generator)
        check_size(self)

    def forward(self, channels: Tensor, context: Tensor) -> Tensor:
        """Return (B, C, N), (B, D) -> (B, N)."""
        shift = (context @ self.query.T)[:, None]  # (B, D) -> (B, 1, H)
        hidden = functional.relu(self.evidence(channels.transpose(1, 2)) + shift)  # (B, N, H)
        return hidden @ self.score  # (B, N, H) -> (B, N)


class LightDW(nn.Module):
    """Equation 3: up-projection, a local depth-wise filter along the candidates, a residual.

    The filter mixes candidates that are neighbours in the order in which the gallery is written:
    the one place in this package where that order matters (docs/explanation/ablation.md).

    Parameters
    ----------
    n_channels, n_hidden, width : int
        ``width`` candidates are mixed; odd.
    """

    def __init__(self, n_channels: int, n_hidden: int, width: int, *, generator: Generator) -> None:
        super().__init__()
        self.up = _pointwise(n_channels, n_hidden, generator)
        self.local = nn.Conv1d(n_hidden, n_hidden, width, padding=width // 2, groups=n_hidden)
        self.down = _pointwise(n_hidden, n_channels, generator)
        _initialise(self.local, width, generator)

    def forward(self, stack: Tensor) -> Tensor:
        """Return (B, K, N) -> (B, K, N)."""
        mixed: Tensor = self.down(functional.gelu(self.local(self.up(stack))))
        return stack + mixed


class PaperNetwork(nn.Module):
    """Equations 3 to 5: LightDW, then a 1x1 convolution over the model axis.

    Parameters
    ----------
    n_channels, n_hidden, width : int
    """

    def __init__(
        self, n_channels: int, n_hidden: int = 16, width: int = 3, *, generator: Generator
    ) -> None:
        super().__init__()
        self.light = LightDW(n_channels, n_hidden, width, generator=generator)
        self.weigh = nn.Conv1d(n_channels, 1, 1, bias=False)
        nn.init.constant_(self.weigh.weight, 1 / n_channels)  # starts as the mean of its inputs
        check_size(self)

    def forward(self, channels: Tensor, context: Tensor | None = None) -> Tensor:
        """Return (B, K, N) -> (B, N); the context is not part of the paper's network."""
        fused: Tensor = self.weigh(self.light(channels))
        return fused[:, 0]


def check_size(network: nn.Module) -> None:
    """Raise ValueError unless the network has fewer parameters than the paper allows."""
    size = sum(parameter.numel() for parameter in network.parameters())
    if size >= MAX_PARAMETERS:
        raise ValueError(
            f"LightFusion: expected fewer than {MAX_PARAMETERS} parameters, got {size}. "
            "Choose fewer hidden units."
        )


def _pointwise(n_in: int, n_out: int, generator: Generator) -> nn.Conv1d:
    """Return a 1x1 convolution: the same linear map for every candidate."""
    layer = nn.Conv1d(n_in, n_out, 1)
    _initialise(layer, n_in, generator)
    return layer


def _initialise(layer: nn.Conv1d | nn.Linear, fan_in: int, generator: Generator) -> None:
    """Draw weights and bias from torch's default range, but from our own generator."""
    bound = fan_in**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
