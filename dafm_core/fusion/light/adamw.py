"""AdamW, by torch's own function of that name.

Its class imports torch's compiler at the first step, which takes longer than to train a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import nn
from torch.optim.adamw import adamw

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Torch's defaults."""


class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter 2019) for some parameters.

    Parameters
    ----------
    parameters : sequence of nn.Parameter
    rate : float
    decay : float
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, rate: float, decay: float) -> None:
        self.parameters: Final = list(parameters)
        self.rate, self.decay = rate, decay
        self._means, self._squares = (
            [torch.zeros_like(p) for p in self.parameters] for _ in range(2)
        )
        self._steps = [torch.tensor(0.0) for _ in self.parameters]

    def zero_grad(self) -> None:
        """Forget the derivatives."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Change the parameters by their derivatives."""
        moved = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        with torch.no_grad():
            adamw(
                [self.parameters[i] for i in moved],
                [slope for p in self.parameters if (slope := p.grad) is not None],
                [self._means[i] for i in moved],
                [self._squares[i] for i in moved],
                [],
                [self._steps[i] for i in moved],
                foreach=True,
                amsgrad=False,
                beta1=BETA_1,
                beta2=BETA_2,
                lr=self.rate,
                weight_decay=self.decay,
                eps=EPSILON,
                maximize=False,
            )
