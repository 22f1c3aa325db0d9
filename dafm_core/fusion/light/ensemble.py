"""Several networks that add to one linear fusion, each trained and stopped on other queries.

The loop that trains one stands in ``training.py``; what they are, in ``network.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, nn

from dafm_core.fusion.base import Progress
from dafm_core.fusion.channels.bank import draw_folds
from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.channels.inputs import CONTEXT_PER_PROVIDER
from dafm_core.fusion.light.network import PaperFusion, ResidualFusion
from dafm_core.fusion.light.options import LightOptions
from dafm_core.fusion.light.training import History, TrainingPlan, train

logger = logging.getLogger(__name__)

MIN_EXAMPLES: Final = 200
"""Fewer do not support more than the linear fusion."""
N_VALIDATION_FOLDS: Final = 5
"""Each network is stopped early on another grouped fold of this many."""
BLOCK_CELLS: Final = 1 << 17
"""Candidates scored at a time: their hidden units stay in the cache."""


def train_ensemble(
    options: LightOptions,
    examples: Examples,
    weights: NDArray[np.float64],
    *,
    n_providers: int,
    seed: int,
    progress: Progress | None,
) -> tuple[list[nn.Module], list[History]]:
    """Return trained networks and what happened, one per seed.

    None where the options ask for none, or the examples are too few; the latter is logged. The
    paper's network is trained as printed: on all examples, without stopping early.

    Parameters
    ----------
    weights : ndarray of shape (1 + n_providers, n_channels), or (1, n_channels)
        Of the linear fusion, as in ``training.train``.
    """
    n_groups = len(np.unique(examples.groups))
    paper = options.network == "paper"
    if options.network == "linear":
        return [], []
    if not paper and (len(examples) < MIN_EXAMPLES or n_groups < 2 * N_VALIDATION_FOLDS):
        logger.warning(
            "LightFusion.fit: %d training examples in %d groups support no more than the "
            "linear fusion (%d in %d would). Train on more queries.",
            *(len(examples), n_groups, MIN_EXAMPLES, 2 * N_VALIDATION_FOLDS),
        )
        return [], []
    networks, histories = [], []
    fold = draw_folds(examples.groups, N_VALIDATION_FOLDS, seed=seed)
    for i in range(options.n_seeds):
        n_families = weights.shape[1] // n_providers
        network = new_network(options, n_providers, n_families, seed=seed + i)
        held_out = np.full(len(fold), False) if paper else fold == i % N_VALIDATION_FOLDS
        history = train(
            network,
            examples.take(np.flatnonzero(~held_out)),
            _plan(options),
            weights=weights,
            seed=seed + i,
            validation=None if paper else examples.take(np.flatnonzero(held_out)),
            progress=progress,
            name=f"network {i + 1} of {options.n_seeds}",
        )
        networks.append(network.eval())
        histories.append(history)
    return networks, histories


def new_network(
    options: LightOptions, n_providers: int, n_families: int, *, seed: int
) -> nn.Module:
    """Return an untrained network for K providers and F families of channels."""
    n_channels, n_context = n_families * n_providers, CONTEXT_PER_PROVIDER * n_providers
    generator = Generator().manual_seed(seed)
    if options.network == "paper":
        return PaperFusion(n_channels, options.n_hidden, generator=generator)
    return ResidualFusion(n_channels, n_context, options.n_hidden, generator=generator)


def mean_score(
    networks: Sequence[nn.Module], channels: NDArray[np.float32], context: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the networks' mean score, a few rows at a time, (B, C, N), (B, D) -> (B, N)."""
    mean = np.zeros((len(channels), channels.shape[2]), np.float32)
    with torch.inference_mode():
        for rows in _blocks(*mean.shape):
            evidence, query = torch.from_numpy(channels[rows]), torch.from_numpy(context[rows])
            for network in networks:
                mean[rows] += network(evidence, query).numpy() / len(networks)
    return mean


def _plan(options: LightOptions) -> TrainingPlan:
    gallery, subset = options.loss_weights
    return TrainingPlan(
        n_epochs=options.n_epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        temperature=options.temperature,
        temperature_rule=options.temperature_rule,
        temperature_scale=options.temperature_scale,
        gallery_weight=gallery,
        subset_weight=subset,
        provider_dropout=options.provider_dropout,
        shuffle_gallery=options.network == "paper" and options.gallery_order == "shuffled",
    )


def _blocks(n_rows: int, n_candidates: int) -> Iterator[slice]:
    size = max(1, BLOCK_CELLS // n_candidates)
    for start in range(0, n_rows, size):
        yield slice(start, start + size)
