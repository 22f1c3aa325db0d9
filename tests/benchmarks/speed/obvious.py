"""The obvious implementation of the paper: what timings are compared with, and an oracle.

It is what one writes first from the equations: min-max rows, the printed network as torch layers
over all candidates, InfoNCE over the gallery, AdamW; float32, batches of ``BATCH`` queries. Nothing
in it is slow on purpose, and nothing is tuned.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BATCH = 64
"""Queries a step."""
TEMPERATURE = 0.02
LEARNING_RATE = 2e-3


class ObviousNetwork(nn.Module):
    """Equations 3 to 5."""

    def __init__(self, n_models: int, n_hidden: int = 16, width: int = 3) -> None:
        super().__init__()
        self.up = nn.Conv1d(n_models, n_hidden, 1)
        self.local = nn.Conv1d(n_hidden, n_hidden, width, padding=width // 2, groups=n_hidden)
        self.down = nn.Conv1d(n_hidden, n_models, 1)
        self.weigh = nn.Conv1d(n_models, 1, 1, bias=False)
        nn.init.constant_(self.weigh.weight, 1 / n_models)

    def forward(self, stack: Tensor) -> Tensor:
        """Return (B, K, N) -> (B, N)."""
        mixed = self.down(nn.functional.gelu(self.local(self.up(stack))))
        return self.weigh(stack + mixed)[:, 0]


def read(matrices: list[NDArray], rows: NDArray[np.int64]) -> Tensor:
    """Return min-max scores of some queries, (B, K, N)."""
    tile = torch.stack([torch.from_numpy(np.asarray(m[rows])).float() for m in matrices], dim=1)
    low, high = tile.amin(2, keepdim=True), tile.amax(2, keepdim=True)
    return (tile - low) / (high - low)


def steps(
    matrices: list[NDArray],
    targets: NDArray[np.int64],
    *,
    n_epochs: int = 4,
    network: ObviousNetwork | None = None,
    seed: int = 0,
) -> Iterator[float]:
    """Train, and yield the loss of each step of ``BATCH`` queries."""
    generator = torch.Generator().manual_seed(seed)
    network = network or ObviousNetwork(len(matrices))
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    for _ in range(n_epochs):
        order = torch.randperm(len(targets), generator=generator).numpy()
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            logits = network(read(matrices, rows)) / TEMPERATURE
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(targets[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield float(loss.detach())


@torch.inference_mode()
def fuse(
    matrices: list[NDArray], rows: NDArray[np.int64], network: ObviousNetwork, k: int = 50
) -> tuple[Tensor, Tensor]:
    """Return the best k candidates of some queries: scores and columns, (B, k)."""
    best = network(read(matrices, rows)).topk(k, dim=1)
    return best.values, best.indices
