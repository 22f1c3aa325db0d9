"""The loss of a training step and its derivatives by machine code, where Numba is installed.

The loops stand in ``residual_loops.py``. Examples are read where they lie, a few at a time:
no batch is copied.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from dafm_core.fusion.channels.compiled import WORTH_COMPILING
from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.light.network import ResidualFusion
from dafm_core.fusion.light.options import LossWeights
from dafm_core.fusion.light.residual_loops import NO_RIVAL, residual_loop
from dafm_core.fusion.light.training import StepLoss


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
    loop : callable
        :func:`residual_loop`.
    """

    def __init__(
        self,
        examples: Examples,
        loss_weights: LossWeights,
        linear: NDArray[np.float32],
        draw: Callable[[int, Generator], Tensor],
        loop: Callable[..., float],
    ) -> None:
        self._draw, self._loop = draw, loop
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
        """Return the loss of one network."""
        first = network.evidence
        parameters = first.weight, first.bias, network.query, network.score

        def loss(rows: Tensor, generator: Generator, tau: Tensor) -> float:
            lost = self._draw(len(rows), generator)
            values = tuple(parameter.detach().numpy() for parameter in parameters)
            loss, slopes, of_tau = self.run(rows.numpy(), lost.numpy(), tau.item(), values)
            for parameter, slope in zip(parameters, slopes, strict=True):
                made = torch.from_numpy(slope)
                parameter.grad = made if parameter.grad is None else parameter.grad.add_(made)
            if tau.requires_grad:
                tau.backward(torch.tensor(of_tau))  # type: ignore[no-untyped-call]
            return loss

        return loss

    def run(
        self,
        rows: NDArray[np.int64],
        lost: NDArray[np.int64],
        tau: float,
        parameters: tuple[NDArray[np.float32], ...],
    ) -> tuple[float, tuple[NDArray[np.float32], ...], float]:
        """Return the loss, and its derivatives by each parameter and by the temperature."""
        of_tau = np.empty(1, np.float32)
        slopes = tuple(np.empty_like(values) for values in parameters)
        loss = self._loop(
            *self._examples, rows, lost, *self._settings, tau, *parameters, slopes, of_tau
        )
        return loss, slopes, float(of_tau[0])


def compiled_loss(
    examples: Examples,
    loss_weights: LossWeights,
    linear: NDArray[np.float32],
    draw: Callable[[int, Generator], Tensor],
) -> CompiledLoss | None:
    """Return the loss, or None where machine code does not repay its loading, or Numba is missing
    or turned off; parameters as there.
    """
    loop = residual_loop() if len(examples) >= WORTH_COMPILING else None
    return None if loop is None else CompiledLoss(examples, loss_weights, linear, draw, loop)
