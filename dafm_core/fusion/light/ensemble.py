"""Several networks that add to one linear fusion, each trained and stopped on other queries.

The loop that trains one stands in ``training.py``; what it is, in ``network.py``. Once trained, the
networks are plain arrays and are scored by NumPy.
"""

from __future__ import annotations

import logging
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.light.compiled_loss import compiled_loss
from dafm_core.fusion.light.network import ResidualFusion
from dafm_core.fusion.light.options import LightOptions
from dafm_core.fusion.light.training import (
    Batch,
    History,
    ScoreRows,
    StepLoss,
    TorchLoss,
    Validation,
    train,
)
from dafm_core.fusion.light.usual_torch import usual_torch
from dafm_core.ground.groups import deal_groups
from dafm_core.ground.progress import Progress

logger = logging.getLogger(__name__)

MIN_EXAMPLES: Final = 200
"""Fewer do not support more than the linear fusion."""
N_VALIDATION_FOLDS: Final = 5
"""Each network is stopped early on another grouped fold of this many."""


@usual_torch()
def train_ensemble(
    options: LightOptions,
    examples: Examples,
    weights: NDArray[np.float64],
    *,
    progress: Progress | None,
) -> tuple[list[ResidualFusion], list[History]]:
    """Return trained networks and what happened, one per seed.

    None where the options ask for none, or the examples are too few; the latter is logged.

    Parameters
    ----------
    examples : Examples
        With their context standardised.
    weights : ndarray of shape (1 + n_providers, n_channels), or (1, n_channels)
        Of the linear fusion, to whose scores the networks' are added: with all providers, and
        without each.
    """
    n_groups = len(np.unique(examples.groups))
    if options.network == "linear":
        return [], []
    if len(examples) < MIN_EXAMPLES or n_groups < 2 * N_VALIDATION_FOLDS:
        level = logging.WARNING if examples.head == "gallery" else logging.INFO  # said once
        logger.log(
            level,
            "LightFusion.fit: %d training examples in %d groups support no more than the "
            "linear fusion (%d in %d would). Train on more queries.",
            *(len(examples), n_groups, MIN_EXAMPLES, 2 * N_VALIDATION_FOLDS),
        )
        return [], []
    linear = torch.from_numpy(weights.astype(np.float32))
    dropping = ProviderDropout(linear, len(examples.layout.providers), options.provider_dropout)
    data, weights_of_loss = Batch.of(examples), options.loss_weights
    fold = deal_groups(examples.groups, N_VALIDATION_FOLDS, seed=options.seed)
    by_machine_code = compiled_loss(examples, weights_of_loss, linear.numpy(), dropping.draw)
    networks, histories = [], []
    for i in range(options.n_seeds):
        seed = options.seed + i
        network = ResidualFusion(
            examples.layout.n_channels,
            examples.context.shape[1],
            options.n_hidden,
            generator=Generator().manual_seed(seed),
        )
        held_out = torch.from_numpy(fold == i % N_VALIDATION_FOLDS)
        loss_of: StepLoss = TorchLoss(network, data, weights_of_loss, dropping)
        score_rows: ScoreRows | None = None
        if by_machine_code is not None:
            loss_of, score_rows = by_machine_code.of(network), by_machine_code.scores_of(network)
        history = train(
            network,
            loss_of,
            torch.nonzero(~held_out)[:, 0],
            options.training,
            seed=seed,
            validation=Validation(
                network,
                data,
                torch.nonzero(held_out)[:, 0],
                weights_of_loss,
                lambda batch: with_linear(batch, linear[:1]),
                score_rows,
            ),
            progress=progress,
            name=f"network {i + 1} of {options.n_seeds}",
        )
        networks.append(network.eval())
        histories.append(history)
    return networks, histories


class ProviderDropout:
    """Takes one provider away from a share of the examples, so that networks learn to do without.

    Parameters
    ----------
    linear : Tensor of shape (1 + n_providers, n_channels)
        Weights of the linear fusion with all providers, and without each.
    n_providers : int
    share : float
        Of the examples that lose one; in [0, 1].
    """

    def __init__(self, linear: Tensor, n_providers: int, share: float) -> None:
        self.linear = linear
        self.n_providers = n_providers
        self.share = share

    def draw(self, n_examples: int, generator: Generator) -> Tensor:
        """Return which provider each example loses, (B,), int64: 0 for none, 1 for the first."""
        if not self.share or self.n_providers < 2:
            return torch.zeros(n_examples, dtype=torch.int64)
        which = torch.randint(1, self.n_providers + 1, (n_examples,), generator=generator)
        return which * (torch.rand(n_examples, generator=generator) < self.share)

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Return the batch with its base: the linear scores of what is left."""
        lost = self.draw(len(batch.target), generator)
        if not self.share or self.n_providers < 2:
            return with_linear(batch, self.linear[lost])
        present = (torch.arange(1, self.n_providers + 1) != lost[:, None]).float()  # (E, K)
        left = batch.with_inputs(
            channels=batch.channels * _spread(present, batch.channels.shape[1])[:, :, None],
            context=batch.context * _spread(present, batch.context.shape[1]),
        )
        return with_linear(left, self.linear[lost])


def with_linear(batch: Batch, weights: Tensor) -> Batch:
    """Return the batch with linear scores as its base; ``weights`` is (E, C), or (1, C)."""
    return batch.with_base((weights[:, None] @ batch.channels)[:, 0])


def _spread(present: Tensor, width: int) -> Tensor:
    """Return (E, K) repeated over families or statistics to (E, width): provider varies fastest."""
    return present.repeat(1, width // present.shape[1])
