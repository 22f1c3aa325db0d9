"""The loss of a training step and its derivatives by machine code, where Numba is installed.

The loops stand in ``residual_loops.py``. Examples are read where they lie, a few at a time:
no batch is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from dafm_core.fusion.channels.compiled import WORTH_COMPILING
from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.light.network import ResidualFusion
from dafm_core.fusion.light.options import LossWeights
from dafm_core.fusion.light.residual_loops import NO_RIVAL, ResidualLoops, residual_loops
from dafm_core.fusion.light.training import ScoreRows, StepLoss


class CompiledLoss:
    """InfoNCE of residual networks on a linear fusion, with its derivatives.

    Parameters
    ----------
    examples : Examples
    loss_weights : LossWeights
    linear : ndarray of shape (S, C), float32
        Weights of the linear fusion with all providers, and without each.
    draw : callable
        From a number of examples and a generator to which provider each loses: 0 for none.
    loops : ResidualLoops
    """

    def __init__(
        self,
        examples: Examples,
        loss_weights: LossWeights,
        linear: NDArray[np.float32],
        draw: Callable[[int, Generator], Tensor],
        loops: ResidualLoops,
    ) -> None:
        self._draw, self._loops = draw, loops
        self._settings = (
            len(examples.layout.providers),
            np.ascontiguousarray(linear),
            np.array(loss_weights, np.float32),
        )
        self._examples = (
            np.ascontiguousarray(examples.channels),
            np.ascontiguousarray(examples.context),
            examples.target,
            np.fmax(examples.log_weight, NO_RIVAL),
            np.where(examples.in_subset, np.float32(0), NO_RIVAL),
            examples.in_subset.any(axis=1),
            examples.weight,
        )

    def of(self, network: ResidualFusion) -> StepLoss:
        """Return the loss of one network, whose parameters stay where they are from its first call
        on.
        """
        parameters, of_tau = _parameters(network), np.empty(1, np.float32)

        @cache
        def arrays() -> tuple[Any, ...]:  # an optimiser may move them before the first step
            values = (parameter.detach().numpy() for parameter in parameters)
            return *values, tuple(_slope(parameter) for parameter in parameters)

        def loss(rows: Tensor, generator: Generator, tau: Tensor) -> float:
            lost = self._draw(len(rows), generator)
            step = rows.numpy(), lost.numpy(), *self._settings, tau.item()
            loss = self._loops.infonce(*self._examples, *step, *arrays(), of_tau)
            if tau.requires_grad:
                tau.backward(torch.tensor(of_tau[0]))  # type: ignore[no-untyped-call]
            return loss

        return loss

    def scores_of(self, network: ResidualFusion) -> ScoreRows:
        """Return what scores examples by one network on the fusion of all providers."""
        parameters, (channels, context, *_) = _parameters(network), self._examples
        linear = self._settings[1][:1]

        def scores(rows: Tensor) -> Tensor:
            out = np.empty((len(rows), channels.shape[2]), np.float32)
            values = (parameter.detach().numpy() for parameter in parameters)
            self._loops.scores(channels, context, rows.numpy(), linear, *values, out)
            return torch.from_numpy(out)

        return scores


def _parameters(network: ResidualFusion) -> tuple[Tensor, ...]:
    first = network.evidence
    return first.weight, first.bias, network.query, network.score


def _slope(parameter: Tensor) -> NDArray[np.float32]:
    """Return what a parameter's derivatives are added to."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    slope: NDArray[np.float32] = parameter.grad.numpy()
    return slope


def compiled_loss(
    examples: Examples,
    loss_weights: LossWeights,
    linear: NDArray[np.float32],
    draw: Callable[[int, Generator], Tensor],
) -> CompiledLoss | None:
    """Return the loss, or None where machine code does not repay its loading, or Numba is missing
    or turned off; parameters as there.
    """
    loops = residual_loops() if len(examples) >= WORTH_COMPILING else None
    return loops and CompiledLoss(examples, loss_weights, linear, draw, loops)
