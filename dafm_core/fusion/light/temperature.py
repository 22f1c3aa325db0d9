"""The temperature of InfoNCE while a fusion trains: equation 7 of the paper, and its controls."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, get_args

import torch
from torch import Tensor, nn

from dafm_core.errors import OptionError, closest
from dafm_core.fusion.light.options import TemperatureRule

RULES: Final[tuple[str, ...]] = get_args(TemperatureRule)

SPAN: Final = 10.0
"""A rule may lower or raise the temperature tenfold, no further."""
MEMORY: Final = 0.9
"""Share of the running mean of the loss that a step keeps."""
RATE: Final = 0.1
"""Largest relative change per step under the rule ``adaptive``."""


class DynamicTemperature(nn.Module):
    """A temperature that reacts to the loss, one step at a time.

    Parameters
    ----------
    rule : {"paper", "adaptive", "learned", "fixed"}
        ``paper``: ``tau * (1 - L / s)`` as printed (equation 7), with a floor and a ceiling: for
        0 < L < s it only ever falls, and beyond it would turn negative. ``adaptive``: what the
        paper's principles ask for; lower while the loss falls below its running mean, higher on a
        plateau and near convergence. ``learned``: its logarithm is a parameter. ``fixed``.
    start : float, > 0
    scale : float, > 0
        The scaling factor s, in nats; rule ``paper`` only.
    """

    def __init__(self, rule: TemperatureRule, start: float, *, scale: float = 100.0) -> None:
        super().__init__()
        if rule not in RULES:
            raise OptionError(f"temperature: no rule {rule!r}{closest(rule, RULES)}")
        if not (start > 0 and scale > 0):
            raise OptionError(f"temperature: expected start and scale > 0, got {start}, {scale}.")
        self.rule = rule
        self.scale = scale
        self.floor, self.ceiling = start / SPAN, start * SPAN
        self.running_loss = math.nan
        logarithm = torch.tensor(math.log(start))
        self.logarithm = nn.Parameter(logarithm, requires_grad=rule == "learned")

    def forward(self) -> Tensor:
        """Return the temperature of this step, > 0."""
        return self.logarithm.exp().clamp(self.floor, self.ceiling)

    def update(self, loss: float) -> None:
        """Take the loss of the step that was just made."""
        if self.rule not in _FACTORS:
            return
        factor = _FACTORS[self.rule](self, loss)
        if math.isnan(self.running_loss):
            self.running_loss = loss
        self.running_loss = MEMORY * self.running_loss + (1 - MEMORY) * loss
        tau = min(max(self().item() * factor, self.floor), self.ceiling)
        with torch.no_grad():
            self.logarithm.fill_(math.log(tau))


def _paper(temperature: DynamicTemperature, loss: float) -> float:
    return 1 - loss / temperature.scale


def _adaptive(temperature: DynamicTemperature, loss: float) -> float:
    if math.isnan(temperature.running_loss):
        return 1.0
    progress = 1 - loss / max(temperature.running_loss, 1e-12)  # > 0 while the loss falls
    return 1 + RATE * math.tanh(0.1 - 10 * progress)


_FACTORS: Final[dict[str, Callable[[DynamicTemperature, float], float]]] = {
    "paper": _paper,
    "adaptive": _adaptive,
}
