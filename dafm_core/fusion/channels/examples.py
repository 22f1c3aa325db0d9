"""Training examples: for each query and target, the channels of some or all candidates.

All candidates give InfoNCE exactly. A sample is the hardest candidates of every provider plus
uniform ones whose logits are raised by the logarithm of how many each stands for: the softmax's
partition sum is then estimated without bias, at a tenth of the cost. Hard candidates alone teach
a fusion to score the unseen tail high.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Tile
from dafm_core.fusion.channels.bank import BankQueries, QueryBank
from dafm_core.fusion.channels.cells import take
from dafm_core.fusion.channels.compiled import WORTH_COMPILING, row_loops
from dafm_core.fusion.channels.drawing import Draw
from dafm_core.fusion.channels.families import BANK_FAMILIES
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.sampling import CompiledSampler, PlainSampler, Sampler
from dafm_core.fusion.channels.view import ChannelReader
from dafm_core.ground.product_loops import fours
from dafm_core.ground.ragged import Ragged
from dafm_core.ground.room import empty
from dafm_core.metrics.families import Head
from dafm_core.store.rows import CACHED_BYTES
from dafm_core.store.stack import SimilarityStack

N_BANK_FOLDS: Final = 5


@dataclass(frozen=True, eq=False)
class Examples:
    """One example per query and target.

    Parameters
    ----------
    layout : Layout
        Which channel is which.
    channels : ndarray of shape (E, C, W), float32
    context : ndarray of shape (E, D), float32
    target : ndarray of shape (E,), int64
        Which of the W candidates is right.
    log_weight : ndarray of shape (E, W), float32
        Logarithm of how many candidates each stands for; -inf where excluded, or another target.
    in_subset : ndarray of shape (E, W), bool
        The target's rivals in the query's subset, and the target; all False without a subset.
    weight : ndarray of shape (E,), float32
        One over the query's number of targets.
    groups : ndarray of shape (E,)
    known : ndarray of shape (E, K, W), bool, or None
        Which providers have a score of which candidate; None where all have.
    head : {"gallery", "subset"}
        What the candidates are all, or a sample, of.
    """

    layout: Layout
    channels: NDArray[np.float32]
    context: NDArray[np.float32]
    target: NDArray[np.int64]
    log_weight: NDArray[np.float32]
    in_subset: NDArray[np.bool_]
    weight: NDArray[np.float32]
    groups: NDArray[Any]
    known: NDArray[np.bool_] | None = None
    head: Head = "gallery"

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """Return some of the examples."""
        return self._with({name: values[rows] for name, values in self._arrays().items()})

    def of_families(self, families: tuple[str, ...]) -> Examples:
        """Return the examples with the channels of some families only."""
        layout = Layout(families, self.layout.providers)
        channels = self.channels[:, self.layout.of_families(families)]
        return replace(self, layout=layout, channels=channels)

    def without_channels(self) -> Examples:
        """Return the examples with no channels, which are most of their memory."""
        return replace(
            self, layout=Layout((), self.layout.providers), channels=self.channels[:, :0]
        )

    def within_subsets(self) -> Examples:
        """Return the examples with their target's rivals in the subset as the only candidates.

        What learns to rank a gallery learns to rank subsets from them. Examples without a rival
        are left out.
        """
        rows = np.flatnonzero(self.in_subset.sum(axis=1) > 1)
        member = self.in_subset[rows]
        width = int(member.sum(axis=1).max(initial=1))
        columns = np.argsort(~member, axis=1, kind="stable")[:, :width]  # members, in their order
        member = np.take_along_axis(member, columns, axis=1)
        known = None
        if self.known is not None:
            known = np.take_along_axis(self.known[rows], columns[:, None], axis=2)
        return Examples(
            layout=self.layout,
            channels=self._cells(rows, columns),
            context=self.context[rows],
            target=(columns == self.target[rows, None]).argmax(axis=1),
            log_weight=np.where(member, 0, -np.inf).astype(np.float32),
            in_subset=member,
            weight=self.weight[rows],
            groups=self.groups[rows],
            known=known,
            head="subset",
        )

    def _cells(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the channels of some candidates (E', W') of some examples, (E', C, W')."""
        out = np.empty((len(rows), self.channels.shape[1], columns.shape[1]), np.float32)
        for i, row in enumerate(rows):  # one by one: together they may be larger than memory
            np.take(self.channels[row], columns[i], axis=1, out=out[i])
        return out

    def known_to(self, providers: NDArray[np.bool_]) -> Examples:
        """Return the examples with only the candidates that all these providers have a score of.

        Examples whose target is not among them are left out.
        """
        if self.known is None:
            return self
        known: NDArray[np.bool_] = np.all(self.known[:, providers], axis=1)  # (E, W)
        rows = np.flatnonzero(known[np.arange(len(self)), self.target])
        some, known = self.take(rows), known[rows]
        return replace(
            some,
            log_weight=np.where(known, some.log_weight, np.float32(-np.inf)),
            in_subset=some.in_subset & known,
        )

    def known_to_all(self) -> Examples:
        """Return :meth:`known_to` of all providers; everything, where that leaves no example."""
        return self.known_to(np.ones(len(self.layout.providers), bool)) or self

    def room(self, n: int) -> Examples:
        """Return room for ``n`` examples of this kind, to be filled with :meth:`put`."""
        arrays = self._arrays().items()
        return self._with({name: empty((n, *own.shape[1:]), own.dtype) for name, own in arrays})

    def put(self, places: NDArray[np.int64], some: Examples) -> None:
        """Write examples where they belong."""
        arrays = some._arrays()
        for name, whole in self._arrays().items():
            whole[places] = arrays[name]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            name: values
            for name, values in vars(self).items()
            if name not in ("layout", "head") and values is not None
        }

    def _with(self, arrays: dict[str, NDArray[Any]]) -> Examples:
        return Examples(layout=self.layout, head=self.head, **arrays)


def make_examples(
    stack: SimilarityStack,
    families: tuple[str, ...],
    *,
    n_hard: int,
    n_uniform: int,
    seed: int,
    n_bank_folds: int = N_BANK_FOLDS,
    bank: SimilarityStack | None = None,
    in_file_order: bool = False,
    queries: BankQueries | None = None,
) -> Examples:
    """Return examples of every target in the gallery, their banks cross-fitted.

    Parameters
    ----------
    stack : SimilarityStack
        Training queries.
    families : tuple of str
        Channels, see ``families.py``.
    n_hard : int
        Best candidates of each provider, and of their mean.
    n_uniform : int
        At least so many more, drawn uniformly; the gallery's size, or more, takes all candidates.
    n_bank_folds : int, default=5
        One puts each query into its own bank.
    bank : SimilarityStack, optional
        What the banks are made of; by default the training queries. Each example's is made without
        the groups of its fold.
    in_file_order : bool
        Where all candidates are taken, whether they stand as in the gallery, for a network that
        looks at its order; by default in the order of their ids, so that no sum depends on it.
    queries : BankQueries, optional
        Of the same stack, bank, folds and seed, where they are read for another bank too.
    """
    settings = (families, n_hard, n_uniform, seed, n_bank_folds, bank, in_file_order)
    return stack.remember(
        ("examples", *settings), lambda: _make_examples(stack, queries, *settings)
    )


def _make_examples(
    stack: SimilarityStack,
    queries: BankQueries | None,
    families: tuple[str, ...],
    n_hard: int,
    n_uniform: int,
    seed: int,
    n_bank_folds: int,
    bank: SimilarityStack | None,
    in_file_order: bool,
) -> Examples:
    layout = Layout(families, stack.names)
    targets, subsets = stack.dataset.targets, stack.dataset.subsets
    labelled = max(targets.counts, default=0) + max(subsets.counts, default=0)
    n_hard = min(n_hard, stack.n_gallery)
    width = n_hard * (stack.n_providers + 1) + int(labelled) + n_uniform
    draw = Draw(
        stack.gallery_ids, n_hard, width, np.random.default_rng(seed), in_file_order=in_file_order
    )
    partly_known = "not-asked" in stack.gallery.unknown.values()
    loops = None
    if _is_compiled(stack, draw):
        loops = row_loops()
    numbers = Ragged(targets.offsets, np.arange(len(targets.values)))  # of each query's examples
    whole: Examples | None = None
    banks = _banks(stack, families, bank, queries, n_folds=n_bank_folds, seed=seed)
    for rows, fold_bank in banks:
        fold = stack.take_queries([stack.query_ids[row] for row in rows])
        reader = ChannelReader.of(fold.gallery, layout, fold_bank)
        sampler: Sampler = PlainSampler(reader, draw)
        if loops is not None:
            sampler = CompiledSampler(reader, draw, loops)
        n_rows = max(1, CACHED_BYTES // (4 * fold.n_providers * fold.n_gallery))
        if loops is not None:
            n_rows = fours(n_rows)  # which machine code works on together
        for block, tile in fold.tiles(n_rows):
            here = rows[block]
            right = targets.take(here)
            groups = stack.dataset.groups[here]
            within = subsets.take(here)
            some = _examples(
                tile, layout, right, within, groups, sampler, partly_known=partly_known
            )
            whole = some.room(len(targets.values)) if whole is None else whole
            whole.put(numbers.take(here).values, some)
    assert whole is not None  # what has no query is refused before
    return whole


def _is_compiled(stack: SimilarityStack, draw: Draw) -> bool:
    """Say whether machine code can sample, and repays the seconds that it takes to load."""
    is_part = not draw.takes_all(stack.n_gallery)
    return is_part and not stack.gallery.unknown and stack.n_queries >= WORTH_COMPILING


def _banks(
    stack: SimilarityStack,
    families: tuple[str, ...],
    bank: SimilarityStack | None,
    queries: BankQueries | None = None,
    *,
    n_folds: int,
    seed: int,
) -> Iterator[tuple[NDArray[np.int64], QueryBank | None]]:
    """Yield rows of training queries, and the bank that they are seen with."""
    if BANK_FAMILIES.isdisjoint(families):
        yield np.arange(stack.n_queries), None
    elif bank is None and stack.whole is not None:
        for rows, whole in _banks(stack.whole, families, None, n_folds=n_folds, seed=seed):
            yield rows, whole and whole.aligned(stack.gallery)
    else:
        queries = queries or BankQueries(stack, bank, n_folds=n_folds, seed=seed)
        if stack.made is None:
            yield from queries.crossfitted()  # one at a time
        else:
            banks = queries.crossfitted()
            yield from stack.remember(("banks", bank, n_folds, seed), lambda: list(banks))


def _examples(
    tile: Tile,
    layout: Layout,
    targets: Ragged,
    subsets: Ragged,
    groups: NDArray[Any],
    sampler: Sampler,
    *,
    partly_known: bool,
) -> Examples:
    right = np.zeros((len(tile), tile.shape[2]), bool)
    right[targets.rows, targets.values] = True
    subset = np.zeros_like(right)
    subset[subsets.rows, subsets.values] = True
    kept = ~np.isneginf(tile[:, 0])
    columns, log_weight, channels, context = sampler(tile, right | subset, kept)
    rival = ~np.take_along_axis(right, columns, axis=1)
    among = np.take_along_axis(subset, columns, axis=1) & np.isfinite(log_weight)
    known = None
    if partly_known:
        known = ~np.isnan(take(tile, columns))
    own = targets.rows  # (B, ...) -> (E, ...): one example per query and target
    at_target = columns[own] == targets.values[:, None]
    counted = rival[own] | at_target
    return Examples(
        layout=layout,
        channels=channels[own],
        context=context[own],
        target=at_target.argmax(axis=1),
        log_weight=np.where(counted, log_weight[own], -np.inf).astype(np.float32),
        in_subset=among[own] & counted,
        weight=(1 / targets.counts[own]).astype(np.float32),
        groups=groups[own],
        known=None if known is None else known[own],
    )
