"""AdamW, by torch's own function of that name.

Its class imports torch's compiler at the first step, which takes longer than to train a network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim.adamw import adamw

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
        self._values = torch.cat([parameter.detach().flatten() for parameter in parameters])
        self._slopes, self._means, self._squares = (
            torch.zeros_like(self._values) for _ in range(3)
        )
        self._n_steps = torch.tensor(0.0)
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, values, slopes in zip(
            parameters,
            torch.split(self._values, sizes),
            torch.split(self._slopes, sizes),
            strict=True,
        ):
            parameter.data = values.view_as(parameter)
            parameter.grad = slopes.view_as(parameter)

    def zero_grad(self) -> None:
        """Forget the derivatives."""
        self._slopes.zero_()

    def step(self) -> None:
        """Change the parameters by their derivatives."""
        with torch.no_grad():
            adamw(
                [self._values],
                [self._slopes],
                [self._means],
                [self._squares],
                [],
                [self._n_steps],
                foreach=False,
                amsgrad=False,
                beta1=BETA_1,
                beta2=BETA_2,
                lr=self.rate,
                weight_decay=self.decay,
                eps=EPSILON,
                maximize=False,
            )
