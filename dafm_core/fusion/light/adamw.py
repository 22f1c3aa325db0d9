"""AdamW of parameters that lie side by side, by NumPy.

Torch's own class imports torch's compiler at the first step, which takes longer than to train a
network; and of the few parameters that there are here it needs ten times as long for a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Torch's defaults."""


class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter 2019) for some parameters.

    They and their derivatives come to lie side by side in two vectors, so that a step is a few
    operations however many parameters there are. Whoever computes derivatives adds them to
    ``grad``, which is there from the start.

    Parameters
    ----------
    parameters : sequence of nn.Parameter
        That the loss depends on: one that it does not would still decay.
    rate : float
    decay : float
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, rate: float, decay: float) -> None:
        self.rate, self.decay = rate, decay
        side_by_side = torch.cat([parameter.detach().flatten() for parameter in parameters])
        derivatives = torch.zeros_like(side_by_side)
        self._values, self._slopes = side_by_side.numpy(), derivatives.numpy()  # the same memory
        self._means, self._squares = np.zeros_like(self._values), np.zeros_like(self._values)
        self._room = np.empty_like(self._values)
        self._n_steps = 0
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, values, slopes in zip(
            parameters,
            torch.split(side_by_side, sizes),
            torch.split(derivatives, sizes),
            strict=True,
        ):
            parameter.data = values.view_as(parameter)
            parameter.grad = slopes.view_as(parameter)

    def zero_grad(self) -> None:
        """Forget the derivatives."""
        self._slopes.fill(0)

    @np.errstate(over="ignore", invalid="ignore")  # who diverges is told so when it ends
    def step(self) -> None:
        """Change the parameters by their derivatives."""
        self._n_steps += 1
        values, room = self._values, self._room
        values *= 1 - self.rate * self.decay
        np.subtract(self._slopes, self._means, out=room)
        room *= 1 - BETA_1
        self._means += room
        self._squares *= BETA_2
        np.multiply(self._slopes, self._slopes, out=room)
        room *= 1 - BETA_2
        self._squares += room
        np.sqrt(self._squares, out=room)
        room /= math.sqrt(1 - BETA_2**self._n_steps)
        room += EPSILON
        np.divide(self._means, room, out=room)
        room *= self.rate / (1 - BETA_1**self._n_steps)
        values -= room
