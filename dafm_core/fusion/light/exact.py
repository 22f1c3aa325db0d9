"""Exact InfoNCE of the paper's network over every candidate, in memory that does not grow.

Between the scores and the hidden units, and between those and a candidate's logit, the printed
network is linear: both maps are multiplied out once a step, and what is left is done for a few
examples and candidates at a time. ``compiled.py`` has the loop for Numba, ``exact_blocks.py`` the
same in torch for where Numba is missing; here is the training that uses either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from dafm_core.fusion.light.adamw import AdamW
from dafm_core.fusion.light.compiled import compiled, ordering
from dafm_core.fusion.light.exact_blocks import exact_rows_in_blocks
from dafm_core.fusion.light.network import PaperNetwork
from dafm_core.fusion.light.options import TrainingOptions
from dafm_core.fusion.light.temperature import DynamicTemperature
from dafm_core.fusion.light.training import History
from dafm_core.ground.normalize import minmax_rows
from dafm_core.ground.progress import Progress
from dafm_core.ground.ragged import Ragged
from dafm_core.store.stack import SimilarityStack

GROUP_CELLS: Final = 1 << 16
"""Scores of one model that each thread holds at a time."""
KEPT_BYTES: Final = 128 << 20
"""Min-max scores that are kept from one step to the next; more are read again."""


class Weights(NamedTuple):
    """The network multiplied out; T candidates side by side, H hidden units, K models.

    ``taps`` (T, H, K) lead from scores to hidden units, ``out`` (H,) from those to the logit, and
    ``linear`` (K,) past them. ``edge`` (T, H) is what the bias of a tap adds, and loses where the
    tap reaches beyond the gallery; ``bias`` (H,) is the rest.
    """

    taps: Any
    edge: Any
    bias: Any
    out: Any
    linear: Any

    @classmethod
    def of(cls, network: PaperNetwork) -> Weights:
        """Return the weights as tensors that know where they come from."""
        light, weigh = network.light, network.weigh.weight[0, :, 0]
        up, down = light.up.weight[:, :, 0], light.down.weight[:, :, 0]
        local = light.local.weight[:, 0].T  # (T, H)
        bias = light.up.bias
        assert bias is not None
        return cls(
            taps=local[:, :, None] * up,
            edge=local * bias,
            bias=light.local.bias,
            out=weigh @ down,  # what the last bias adds is the same for every candidate
            linear=weigh,
        )

    def zeros(self) -> Weights:
        """Return zeros of the same shapes, as arrays."""
        return Weights(*(np.zeros(tuple(part.shape), np.float32) for part in self))

    def arrays(self) -> Weights:
        """Return the tensors' values."""
        return Weights(*(np.ascontiguousarray(part.detach().numpy()) for part in self))


class Order(NamedTuple):
    """Candidates of a step in another order: which stands at each place, and where each stands."""

    columns: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, columns: NDArray[np.int64]) -> Order:
        """Return the order in which these columns stand, (N,)."""
        return cls(columns, np.argsort(columns))


@dataclass(frozen=True, eq=False)
class Group:
    """A few examples: min-max scores (R, K, N), which candidates are no rivals (R, N), where the
    target stands (R,), and what each counts for (R,).
    """

    scores: NDArray[np.float32]
    removed: NDArray[np.bool_]
    target: NDArray[np.int64]
    share: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ExactExamples:
    """One example per query and target of a stack, read when it is needed.

    Parameters
    ----------
    stack : SimilarityStack
    targets : Ragged of n_queries rows
    """

    stack: SimilarityStack
    targets: Ragged

    def __len__(self) -> int:
        return len(self.targets.values)

    @cached_property
    def _kept(self) -> NDArray[np.float32] | None:
        """Min-max scores of all queries, (Q, K, N), where they are few."""
        stack = self.stack
        shape = (stack.n_queries, stack.n_providers, stack.n_gallery)
        if 4 * np.prod(shape, dtype=np.int64) > KEPT_BYTES:
            return None
        kept = np.empty(shape, np.float32)
        for rows, tile in stack.tiles():
            kept[rows] = _minmax(tile)
        return kept

    @cached_property
    def _queries(self) -> NDArray[np.int64]:
        """The query of each example, (E,)."""
        return self.targets.rows

    @cached_property
    def _shares(self) -> NDArray[np.float32]:
        """What each example counts for, (E,)."""
        return (1 / self.targets.counts[self._queries]).astype(np.float32)

    def group(self, examples: NDArray[np.int64], order: Order | None) -> Group:
        """Return some examples, their candidates in another order where one is given."""
        queries, target = self._queries[examples], self.targets.values[examples]
        removed = np.zeros((len(queries), self.stack.n_gallery), bool)
        for others in (self.stack.dataset.excluded.take(queries), self.targets.take(queries)):
            removed[others.rows, _at(others.values, order)] = True  # other targets are no rivals
        target = _at(target, order)
        removed[np.arange(len(queries)), target] = False
        kept = self._kept
        if kept is None:
            kept, queries = _minmax(self.stack.read(queries)), np.arange(len(queries))
        return Group(_rows(kept, queries, order), removed, target, self._shares[examples])


def _rows(
    scores: NDArray[np.float32], rows: NDArray[np.int64], order: Order | None
) -> NDArray[np.float32]:
    """Return some rows (R,) of scores (Q, K, N), in another order where one is given, (R, K, N)."""
    if order is None:
        return scores[rows]
    out = np.empty((len(rows), *scores.shape[1:]), np.float32)
    if (loop := ordering()) is not None:
        loop(scores, rows, order.columns, out)
    else:  # "clip": without a buffer, and no place is outside
        np.take(scores[rows], order.columns, axis=2, out=out, mode="clip")
    return out


def _at(columns: NDArray[np.int64], order: Order | None) -> NDArray[np.int64]:
    return columns if order is None else order.places[columns]


def _minmax(tile: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isfinite(tile), minmax_rows(tile), np.float32(0))


def train_exactly(
    network: PaperNetwork,
    examples: ExactExamples,
    options: TrainingOptions,
    *,
    n_steps: int | None,
    shuffled: bool,
    seed: int,
    progress: Progress | None = None,
) -> History:
    """Train a network in place on all candidates, and return loss and temperature of each step.

    Parameters
    ----------
    n_steps : int, optional
        Steps after which it ends, within an epoch or not.
    shuffled : bool
        Whether the candidates of each step stand in a random order.
    """
    generator = Generator().manual_seed(seed)
    temperature = DynamicTemperature(
        options.temperature_rule, options.temperature, scale=options.temperature_scale
    )
    unseen = network.light.down.bias  # it moves every candidate alike
    learned = [
        *(parameter for parameter in network.parameters() if parameter is not unseen),
        *(parameter for parameter in temperature.parameters() if parameter.requires_grad),
    ]
    optimizer = AdamW(learned, rate=options.learning_rate, decay=options.weight_decay)
    history: History = []
    n_gallery = examples.stack.n_gallery
    for epoch in range(1, options.n_epochs + 1):
        dealt = torch.randperm(len(examples), generator=generator)
        batches = torch.split(dealt, options.batch_size)
        left = None if n_steps is None else max(0, n_steps - len(history))
        for batch in batches[:left]:
            order = None
            if shuffled:
                order = Order.of(torch.randperm(n_gallery, generator=generator).numpy())
            tau = temperature()
            optimizer.zero_grad()
            loss = step_loss(network, examples, batch.numpy(), tau, order)
            optimizer.step()
            temperature.update(loss)
            history.append({"epoch": epoch, "loss": loss, "temperature": tau.item()})
        if progress is not None:
            progress("network", epoch, options.n_epochs)
    return history


def step_loss(
    network: PaperNetwork,
    examples: ExactExamples,
    batch: NDArray[np.int64],
    tau: Tensor,
    order: Order | None = None,
) -> float:
    """Return the mean InfoNCE of a batch, and leave its gradient in the network's parameters.

    Groups are added up in their order, so that the number of threads changes no bit.
    """
    batch, weights = np.sort(batch), Weights.of(network)
    values, scale = weights.arrays(), float(tau.detach())
    kernel = compiled() or exact_rows_in_blocks

    def measure(part: NDArray[np.int64]) -> tuple[float, Weights]:
        group = examples.group(part, order)
        losses, gradient = np.zeros(len(part)), weights.zeros()
        share = group.share / np.float32(len(batch))
        kernel(
            *(group.scores, group.removed, group.target, share, np.float32(scale)),
            *(*values, losses, *gradient),
        )
        return float(losses.sum()), gradient

    total, gradient = 0.0, weights.zeros()
    size = max(1, GROUP_CELLS // examples.stack.n_gallery)
    parts = [batch[start : start + size] for start in range(0, len(batch), size)]
    for loss, part in _in_threads(measure, parts):
        total += loss
        for whole, share in zip(gradient, part, strict=True):
            whole += share
    given = [torch.from_numpy(part) for part in gradient]
    torch.autograd.backward(list(weights), given)
    if tau.requires_grad:  # logits are over tau, and so is every gradient of theirs
        at_weights = sum(
            float((w.detach() * g).sum()) for w, g in zip(weights[3:], given[3:], strict=True)
        )
        torch.autograd.backward([tau], [torch.tensor(-at_weights / scale)])
    return total


def _in_threads(
    function: Callable[[NDArray[np.int64]], tuple[float, Weights]],
    parts: list[NDArray[np.int64]],
) -> Iterator[tuple[float, Weights]]:
    """Yield the results in order, made by as many threads as torch may use."""
    n_threads = min(torch.get_num_threads(), len(parts))
    if n_threads < 2 or compiled() is None:  # torch has threads of its own
        yield from map(function, parts)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        yield from pool.map(function, parts)
