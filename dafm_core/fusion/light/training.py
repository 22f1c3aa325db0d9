"""One training loop, read top to bottom, for the networks of every fusion here; and its loss.

Which examples it sees stands in ``channels/examples.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, TypeAlias

import torch
from torch import Generator, Tensor, nn

from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.light.adamw import AdamW
from dafm_core.fusion.light.options import LossWeights, TrainingOptions
from dafm_core.fusion.light.temperature import DynamicTemperature
from dafm_core.ground.progress import Progress
from dafm_core.ground.threads import one_torch_thread

Change: TypeAlias = "Callable[[Batch, Generator], Batch]"
"""What a batch becomes before a training step."""

StepLoss: TypeAlias = Callable[[Tensor, Generator, Tensor], float]
"""From the examples of a step (B,), int64, a generator, and the temperature to their mean loss; it
adds the derivatives to ``grad`` of the network's parameters and, if learned, the temperature."""

ScoreRows: TypeAlias = Callable[[Tensor], Tensor]
"""From examples (V,), int64, to the scores of their candidates (V, W)."""

History: TypeAlias = list[dict[str, float]]
"""One record per step (epoch, loss, temperature) and per look at the validation part."""

VALIDATION_ROWS: Final = 128
"""Validation examples scored at a time."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples as tensors; fields as in ``Examples``.

    ``base``, (E, W) or (E, 1), is added to the network's scores: those of a linear fusion, say.
    """

    channels: Tensor
    context: Tensor
    target: Tensor
    log_weight: Tensor
    in_subset: Tensor
    weight: Tensor
    base: Tensor

    @classmethod
    def of(cls, examples: Examples) -> Batch:
        """Return all examples, with a base of zeros; memory is shared."""
        names = cls.__dataclass_fields__.keys() - {"base"}
        tensors = {name: torch.from_numpy(getattr(examples, name)) for name in names}
        return cls(**tensors, base=torch.zeros(len(examples), 1))

    def take(self, rows: Tensor) -> Batch:
        """Return some of the examples."""
        return Batch(**{name: values[rows] for name, values in vars(self).items()})

    def with_inputs(self, *, channels: Tensor, context: Tensor) -> Batch:
        """Return the examples with other channels and context."""
        return replace(self, channels=channels, context=context)

    def without_channels(self) -> Batch:
        """Return what a loss looks at; the rest is empty."""
        nothing = self.channels[:, :0]
        return replace(self, channels=nothing, base=self.base[:, :1])

    def with_base(self, base: Tensor) -> Batch:
        """Return the examples with other scores to add the network's to."""
        return replace(self, base=base)

    def permuted(self, order: Tensor) -> Batch:
        """Return the examples with their candidates in another order."""
        return Batch(
            channels=self.channels[:, :, order],
            context=self.context,
            target=torch.argsort(order)[self.target],
            log_weight=self.log_weight[:, order],
            in_subset=self.in_subset[:, order],
            weight=self.weight,
            base=self.base,
        )


@dataclass(frozen=True, eq=False)
class TorchLoss:
    """InfoNCE of a network as torch derives it; a ``StepLoss``.

    Parameters
    ----------
    network : nn.Module
    data : Batch
    loss_weights : LossWeights
    change : callable
        What a batch becomes before each step: providers dropped, or candidates shuffled.
    """

    network: nn.Module
    data: Batch
    loss_weights: LossWeights
    change: Change

    def __call__(self, rows: Tensor, generator: Generator, tau: Tensor) -> float:
        """Return the mean loss of some examples, and add its derivatives."""
        batch = self.change(self.data.take(rows), generator)
        loss = infonce(score(self.network, batch) / tau, batch, self.loss_weights)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()


@one_torch_thread()
def train(
    network: nn.Module,
    loss_of: StepLoss,
    rows: Tensor,
    options: TrainingOptions,
    *,
    seed: int,
    n_steps: int | None = None,
    validation: Validation | None = None,
    progress: Progress | None = None,
    name: str = "training",
) -> History:
    """Train a network in place, and return what happened.

    Parameters
    ----------
    loss_of : callable
        The network's loss: :class:`TorchLoss`, or that of ``compiled_loss.py``.
    rows : Tensor of shape (E,), int64
        Examples to train on.
    n_steps : int, optional
        Steps after which it ends, within an epoch or not.
    validation : Validation, optional
        Whose loss decides when to stop and which epoch's weights to keep: the initial ones, if
        nothing was better.
    """
    generator = Generator().manual_seed(seed)
    temperature = DynamicTemperature(
        options.temperature_rule, options.temperature, scale=options.temperature_scale
    )
    learned = [*network.parameters(), *(p for p in temperature.parameters() if p.requires_grad)]
    optimizer = AdamW(learned, rate=options.learning_rate, decay=options.weight_decay)
    history: History = []
    best_loss, best_state, best_epoch = float("inf"), copy.deepcopy(network.state_dict()), 0
    for epoch in range(options.n_epochs + 1):
        if epoch > 0:
            shuffled = rows[torch.randperm(len(rows), generator=generator)]
            batches = torch.split(shuffled, options.batch_size)
            left = None if n_steps is None else max(0, n_steps - (epoch - 1) * len(batches))
            for some in batches[:left]:
                tau = temperature()
                optimizer.zero_grad()
                loss = loss_of(some, generator, tau)
                optimizer.step()
                temperature.update(loss)
                history.append({"epoch": epoch, "loss": loss, "temperature": tau.item()})
        if validation is not None:
            seen = validation(temperature().item())
            history.append({"epoch": epoch, **seen})
            if seen["validation_loss"] < best_loss:
                best_loss, best_epoch = seen["validation_loss"], epoch
                best_state = copy.deepcopy(network.state_dict())
        stop = validation is not None and epoch - best_epoch >= options.patience
        if progress is not None:
            progress(name, epoch, epoch if stop else options.n_epochs)
        if stop:
            break
    if validation is not None:
        network.load_state_dict(best_state)
    return history


def score(network: nn.Module, batch: Batch) -> Tensor:
    """Return the network's scores, added to what the batch has already, (E, W)."""
    learned: Tensor = network(batch.channels, batch.context)
    return batch.base + learned


def infonce(logits: Tensor, batch: Batch, loss_weights: LossWeights) -> Tensor:
    """Return the weighted mean of InfoNCE over all candidates and over each query's subset."""
    at_target = logits.gather(1, batch.target[:, None])[:, 0]
    total = torch.zeros(())
    if loss_weights.gallery:
        partition = (logits + batch.log_weight).logsumexp(dim=1)
        total = total + loss_weights.gallery * (batch.weight * (partition - at_target)).mean()
    if loss_weights.subset:
        rows = batch.in_subset.any(dim=1)
        within = logits[rows].masked_fill(~batch.in_subset[rows], -torch.inf)
        losses = within.logsumexp(dim=1) - at_target[rows]
        mean = (batch.weight[rows] * losses).sum() / max(1, len(rows))
        total = total + loss_weights.subset * mean
    return total


@dataclass(frozen=True, eq=False)
class Validation:
    """A network looked at with unseen examples, a few at a time.

    Parameters
    ----------
    network : nn.Module
    data : Batch
    rows : Tensor of shape (V,), int64
        Those that are unseen.
    loss_weights : LossWeights
    change : callable
        What a batch becomes before it is scored.
    score_rows : callable, optional
        Gives the same scores in another way.
    """

    network: nn.Module
    data: Batch
    rows: Tensor
    loss_weights: LossWeights
    change: Callable[[Batch], Batch]
    score_rows: ScoreRows | None = None

    @cached_property
    def _seen(self) -> Batch:
        """What the loss looks at."""
        return self.data.without_channels().take(self.rows)

    def _scores(self) -> Tensor:
        if self.score_rows is not None:
            return self.score_rows(self.rows)
        parts = torch.split(self.rows, VALIDATION_ROWS)
        return torch.cat([score(self.network, self.change(self.data.take(rows))) for rows in parts])

    @torch.no_grad()
    def __call__(self, tau: float) -> dict[str, float]:
        """Return loss and recall; ranks are estimated from the candidates drawn."""
        scores, batch = self._scores(), self._seen
        at_target = scores.gather(1, batch.target[:, None])
        # A candidate drawn at random stands for as many as its weight says.
        rank = 1 + ((scores > at_target) * batch.log_weight.exp()).sum(dim=1)
        recall = {f"recall@{k}": (rank < k + 1).float().mean().item() for k in (1, 10)}
        loss = infonce(scores / tau, batch, self.loss_weights)
        return {"validation_loss": loss.item(), **recall}
