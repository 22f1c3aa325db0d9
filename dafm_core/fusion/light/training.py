"""One training loop, read top to bottom, for every network of LightFusion; and its loss.

What is trained is a network added to fixed linear weights (zeros for the paper's preset). Which
examples it sees stands in ``examples.py``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from dafm_core.fusion.base import Progress
from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.light.temperature import DynamicTemperature, TemperatureRule

History: TypeAlias = list[dict[str, float]]
"""One record per step (epoch, loss, temperature) and per look at the validation part."""

VALIDATION_ROWS: Final = 128
"""Validation examples scored at a time."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How to train.

    Parameters
    ----------
    n_epochs, batch_size : int
    learning_rate, weight_decay : float
        Of AdamW.
    temperature : float
    temperature_rule : {"paper", "adaptive", "learned", "fixed"}
    temperature_scale : float
    gallery_weight, subset_weight : float
    provider_dropout : float
        Share of examples from which one provider is taken away.
    shuffle_gallery : bool
        Permute the candidates before every step: matters to a network that mixes them.
    patience : int
        Epochs without a better validation loss before training ends.
    """

    n_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    temperature: float
    temperature_rule: TemperatureRule
    temperature_scale: float
    gallery_weight: float
    subset_weight: float
    provider_dropout: float
    shuffle_gallery: bool
    patience: int = 4


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples as tensors; fields as in ``Examples``."""

    channels: Tensor
    context: Tensor
    target: Tensor
    log_weight: Tensor
    in_subset: Tensor
    weight: Tensor

    @classmethod
    def of(cls, examples: Examples) -> Batch:
        """Return all examples; memory is shared."""
        names = cls.__dataclass_fields__
        return cls(**{name: torch.from_numpy(getattr(examples, name)) for name in names})

    def take(self, rows: Tensor) -> Batch:
        """Return some of the examples."""
        return Batch(**{name: values[rows] for name, values in vars(self).items()})

    def permuted(self, order: Tensor) -> Batch:
        """Return the examples with their candidates in another order."""
        return Batch(
            channels=self.channels[:, :, order],
            context=self.context,
            target=torch.argsort(order)[self.target],
            log_weight=self.log_weight[:, order],
            in_subset=self.in_subset[:, order],
            weight=self.weight,
        )


def train(
    network: nn.Module,
    examples: Examples,
    plan: TrainingPlan,
    *,
    weights: NDArray[np.float64],
    seed: int,
    validation: Examples | None = None,
    progress: Progress | None = None,
    name: str = "training",
) -> History:
    """Train the network in place, and return what happened.

    Parameters
    ----------
    weights : ndarray of shape (1 + n_providers, n_channels)
        Of the linear fusion, to whose scores the network's are added: with all providers, and
        without each. The provider varies fastest among channels and row statistics.
    validation : Examples, optional
        Whose loss decides when to stop and which epoch's weights to keep: the initial ones, if
        nothing was better.
    """
    data, held_out = Batch.of(examples), Batch.of(validation) if validation else None
    linear = torch.from_numpy(weights.astype(np.float32))
    generator = Generator().manual_seed(seed)
    temperature = DynamicTemperature(
        plan.temperature_rule, plan.temperature, scale=plan.temperature_scale
    )
    learned = [*network.parameters(), *(p for p in temperature.parameters() if p.requires_grad)]
    optimizer = torch.optim.AdamW(
        learned, lr=plan.learning_rate, weight_decay=plan.weight_decay, foreach=True
    )
    history: History = []
    best_loss, best_state, best_epoch = float("inf"), copy.deepcopy(network.state_dict()), 0
    for epoch in range(plan.n_epochs + 1):
        if epoch > 0:
            shuffled = torch.randperm(len(examples), generator=generator)
            for rows in torch.split(shuffled, plan.batch_size):
                batch = data.take(rows)
                if plan.shuffle_gallery:
                    n_candidates = batch.channels.shape[2]
                    batch = batch.permuted(torch.randperm(n_candidates, generator=generator))
                batch, lost = drop_providers(
                    batch, len(linear) - 1, plan.provider_dropout, generator
                )
                scores = fuse(network, batch, linear[lost])
                tau = temperature()
                loss = infonce(scores / tau, batch, plan)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                temperature.update(loss.item())
                history.append({"epoch": epoch, "loss": loss.item(), "temperature": tau.item()})
        if held_out is not None:
            seen = validate(network, held_out, linear[:1], temperature().item(), plan)
            history.append({"epoch": epoch, **seen})
            if seen["validation_loss"] < best_loss:
                best_loss, best_epoch = seen["validation_loss"], epoch
                best_state = copy.deepcopy(network.state_dict())
        stop = held_out is not None and epoch - best_epoch >= plan.patience
        if progress is not None:
            progress(name, epoch, epoch if stop else plan.n_epochs)
        if stop:
            break
    if held_out is not None:
        network.load_state_dict(best_state)
    return history


def fuse(network: nn.Module, batch: Batch, weights: Tensor) -> Tensor:
    """Return linear plus learned scores, (E, W); ``weights`` is (E, C), or (1, C)."""
    learned: Tensor = network(batch.channels, batch.context)
    return (weights[:, None] @ batch.channels)[:, 0] + learned


def infonce(logits: Tensor, batch: Batch, plan: TrainingPlan) -> Tensor:
    """Return the weighted mean of InfoNCE over all candidates and over each query's subset."""
    own = logits.gather(1, batch.target[:, None])[:, 0]
    total = torch.zeros(())
    if plan.gallery_weight:
        partition = (logits + batch.log_weight).logsumexp(dim=1)
        total = total + plan.gallery_weight * (batch.weight * (partition - own)).mean()
    if plan.subset_weight:
        rows = batch.in_subset.any(dim=1)
        within = logits[rows].masked_fill(~batch.in_subset[rows], -torch.inf)
        losses = within.logsumexp(dim=1) - own[rows]
        total = total + plan.subset_weight * (batch.weight[rows] * losses).sum() / len(rows)
    return total


def drop_providers(
    batch: Batch, n_providers: int, share: float, generator: Generator
) -> tuple[Batch, Tensor]:
    """Take one provider away from a share of the examples; return which, 0 for none."""
    n_examples = len(batch.target)
    if not share or n_providers < 2:
        return batch, torch.zeros(n_examples, dtype=torch.int64)
    which = torch.randint(1, n_providers + 1, (n_examples,), generator=generator)
    lost = which * (torch.rand(n_examples, generator=generator) < share)
    kept = (torch.arange(1, n_providers + 1) != lost[:, None]).float()  # (E, K)
    dropped = replace(
        batch,
        channels=batch.channels * _spread(kept, batch.channels.shape[1])[:, :, None],
        context=batch.context * _spread(kept, batch.context.shape[1]),
    )
    return dropped, lost


@torch.no_grad()
def validate(
    network: nn.Module, batch: Batch, weights: Tensor, tau: float, plan: TrainingPlan
) -> dict[str, float]:
    """Return loss and recall of unseen examples; ranks are estimated from the candidates drawn."""
    scores = torch.cat(
        [
            fuse(network, batch.take(rows), weights)
            for rows in torch.split(torch.arange(len(batch.target)), VALIDATION_ROWS)
        ]
    )
    own = scores.gather(1, batch.target[:, None])
    rank = 1 + ((scores > own) * batch.log_weight.exp()).sum(dim=1)
    recall = {f"recall@{k}": (rank < k + 1).float().mean().item() for k in (1, 10)}
    return {"validation_loss": infonce(scores / tau, batch, plan).item(), **recall}


def _spread(kept: Tensor, width: int) -> Tensor:
    """Return (E, K) repeated over families or statistics to (E, width): provider varies fastest."""
    return kept.repeat(1, width // kept.shape[1])
