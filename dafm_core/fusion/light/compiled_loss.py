"""The loss of a training step by machine code, where Numba is installed, as torch sees it.

The loops stand in ``residual_loops.py``. Examples are read where they lie: no batch is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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

        def loss(rows: Tensor, generator: Generator, tau: Tensor) -> Tensor:
            lost = self._draw(len(rows), generator)
            made: Tensor = _Loss.apply(  # type: ignore[no-untyped-call]
                self, rows.numpy(), lost.numpy(), tau, *parameters
            )
            return made

        return loss

    def run(
        self,
        rows: NDArray[np.int64],
        lost: NDArray[np.int64],
        tau: float,
        parameters: tuple[NDArray[np.float32], ...],
    ) -> tuple[float, list[NDArray[np.float32]]]:
        """Return the loss, and its derivatives by the temperature and each parameter."""
        of_tau = np.empty(1, np.float32)
        slopes = tuple(np.empty_like(values) for values in parameters)
        loss = self._loop(
            *self._examples, rows, lost, *self._settings, tau, *parameters, slopes, of_tau
        )
        return loss, [of_tau.reshape(()), *slopes]


class _Loss(torch.autograd.Function):
    """Hands the derivatives on."""

    @staticmethod
    def forward(
        ctx: Any,
        compiled: CompiledLoss,
        rows: NDArray[np.int64],
        lost: NDArray[np.int64],
        tau: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        arrays = tuple(parameter.detach().numpy() for parameter in parameters)
        loss, slopes = compiled.run(rows, lost, tau.item(), arrays)
        ctx.slopes = [torch.from_numpy(slope) for slope in slopes]
        return torch.tensor(loss)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        return None, None, None, *(upstream * slope for slope in ctx.slopes)


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
