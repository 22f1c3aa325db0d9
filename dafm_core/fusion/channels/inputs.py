"""What a learned fusion sees of a candidate: named channels, made from a tile and a query bank.

LightFusion, logistic stacking and any plugin that learns per candidate share these, so that they
are compared on the same inputs. NumPy only; which candidates to learn from is ``examples.py``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import LeakageError, OptionError, closest
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.ground.normalize import minmax_rows, rank_rows, zscore_rows

if TYPE_CHECKING:
    from dafm_core.fusion.base import Tile
    from dafm_core.store.stack import SimilarityStack

FAMILIES: Final = {
    "minmax": "scores, each row scaled to [0, 1]",
    "rows": "scores, standardised over each row",
    "columns": "rows, standardised again over each candidate's column of the query bank",
    "restandardized": "columns, standardised once more over each row: the evidence",
    "ranks": "logarithm of the share of candidates with as much evidence, centred",
    "reverse": "logarithm of how many queries of the bank score the candidate higher",
    "topics": "evidence that is left when the row is made of the bank's main directions alone",
    "neighbours": "mean evidence of a candidate's nearest other candidates",
    "neighbour-rows": "their mean score, standardised over each row",
}
"""One channel per provider each, in this order; without a bank the evidence is ``rows``."""

DEFAULT_INPUTS: Final = "rows,restandardized,ranks,reverse,topics,neighbours"
"""What wins on data (docs/explanation/ablation.md); every learned fuser takes these by default."""
BANK_FAMILIES: Final = frozenset({"columns", "restandardized", "reverse", "topics"})
NEIGHBOUR_FAMILIES: Final = frozenset({"neighbours", "neighbour-rows"})
CONTEXT_PER_PROVIDER: Final = 5
N_NEIGHBOURS: Final = 8


def parse_families(inputs: str, *, where: str) -> tuple[str, ...]:
    """Return the channel families of a comma-separated list, in the order of ``FAMILIES``.

    Raises
    ------
    OptionError
        For an unknown or missing name.
    """
    names = [name.strip() for name in inputs.split(",") if name.strip()]
    for name in names:
        if name not in FAMILIES:
            raise OptionError(f"{where}: no input {name!r}{closest(name, FAMILIES)}")
    if not names:
        raise OptionError(f"{where}: expected at least one input, got {inputs!r}.")
    return tuple(name for name in FAMILIES if name in names)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Channels of one stack's tiles.

    Parameters
    ----------
    names : tuple of str
        Providers in the order of the channels; those the stack lacks give zeros.
    present : ndarray of int64
        Where the stack's providers stand in ``names``.
    families : tuple of str
        Keys of ``FAMILIES``; channel ``f * K + k`` is family f of provider k.
    bank : QueryBank or None
        Aligned with the stack.
    neighbours : ndarray of shape (M, N), int64, or None
        Each candidate's nearest others; N stands for none.
    """

    names: tuple[str, ...]
    present: NDArray[np.int64]
    families: tuple[str, ...]
    bank: QueryBank | None
    neighbours: NDArray[np.int64] | None

    @classmethod
    def of(
        cls,
        stack: SimilarityStack,
        families: tuple[str, ...],
        bank: QueryBank | None,
        *,
        names: tuple[str, ...] | None = None,
    ) -> Inputs:
        """Return the channels of a stack, with or without a bank."""
        names = names or stack.names
        needs_bank = bank is not None and not BANK_FAMILIES.isdisjoint(families)
        return cls(
            names=names,
            present=np.array([names.index(name) for name in stack.names]),
            families=families,
            bank=bank.aligned(stack) if bank is not None and needs_bank else None,
            neighbours=None
            if NEIGHBOUR_FAMILIES.isdisjoint(families)
            else gallery_neighbours(stack),
        )

    @property
    def available(self) -> NDArray[np.bool_]:
        """Which channels say anything here, shape (n_channels,)."""
        family = [
            not (name in NEIGHBOUR_FAMILIES and self.neighbours is None)
            and not (name in ("reverse", "topics") and self.bank is None)
            for name in self.families
        ]
        provider = np.isin(np.arange(len(self.names)), self.present)
        return np.outer(family, provider).ravel()

    def channels(self, tile: Tile) -> NDArray[np.float32]:
        """Return (B, K, N) raw scores as (B, n_channels, N) float32; 0 where excluded."""
        return self.read(tile).channels()

    def read(self, tile: Tile) -> TileView:
        """Return what can be said of a tile of raw scores, each view made once, when asked for."""
        return TileView(self, tile)


class TileView:
    """A tile (B, K, N) of raw scores as channels, evidence and context."""

    def __init__(self, inputs: Inputs, tile: Tile) -> None:
        self.inputs = inputs
        self.tile = tile

    @cached_property
    def rows(self) -> NDArray[np.float32]:
        """Row-standardised scores, (B, K, N)."""
        return zscore_rows(self.tile)

    @cached_property
    def silent(self) -> NDArray[np.bool_]:
        """Which rows hold no evidence: all candidates are level, (B, K)."""
        silent: NDArray[np.bool_] = ~np.any((self.rows != 0) & np.isfinite(self.rows), axis=2)
        return silent

    @cached_property
    def columns(self) -> NDArray[np.float32]:
        """Rows standardised over the bank; a row without evidence stays without."""
        if self.inputs.bank is None:
            return self.rows
        columns = self.inputs.bank.statistics.apply(self.rows)
        columns[self.silent] = self.rows[self.silent]
        return columns

    @cached_property
    def evidence(self) -> NDArray[np.float32]:
        """Comparable scores, by which hard candidates are chosen, (B, K, N)."""
        return self.rows if self.inputs.bank is None else zscore_rows(self.columns)

    def channels(self) -> NDArray[np.float32]:
        """Return the channels, (B, n_channels, N), 0 where excluded or not known."""
        inputs, (n_rows, _, n_gallery) = self.inputs, self.tile.shape
        shape = (n_rows, len(inputs.families), len(inputs.names), n_gallery)
        out, kept = np.zeros(shape, np.float32), np.isfinite(self.tile)
        for f, name in enumerate(inputs.families):
            scores = self._family(name)
            if scores is not None:
                out[:, f, inputs.present] = np.where(kept, scores, np.float32(0))
        return out.reshape(n_rows, -1, n_gallery)

    def context(self) -> NDArray[np.float32]:
        """Return what the shape of each row says about its query, (B, 5 K) float32.

        Best score, its lead over the second and the tenth, the tenth's over the hundredth, and
        the entropy of the row: classic predictors of how far a ranking can be trusted.
        """
        kept, last = np.isfinite(self.rows), self.tile.shape[2] - 1
        lowest = self.rows.min(axis=2, keepdims=True, where=kept, initial=0.0)
        rows = np.where(kept, self.rows, lowest)  # an excluded candidate is no evidence
        top = -np.partition(-rows, sorted({min(i, last) for i in (0, 1, 9, 99)}), axis=2)
        first, second, tenth, hundredth = (top[:, :, min(i, last)] for i in (0, 1, 9, 99))
        chance = np.exp(rows - first[:, :, None])
        chance /= chance.sum(axis=2, keepdims=True)
        entropy = -(chance * np.log(np.maximum(chance, 1e-30))).sum(axis=2)
        shape = np.stack([first, first - second, first - tenth, tenth - hundredth, entropy], 1)
        out = np.zeros((len(rows), CONTEXT_PER_PROVIDER, len(self.inputs.names)), np.float32)
        out[:, :, self.inputs.present] = shape
        return out.reshape(len(rows), -1)

    def _family(self, name: str) -> NDArray[np.float32] | None:
        """Return one family's scores, (B, K, N), or None where they are not known."""
        bank, neighbours = self.inputs.bank, self.inputs.neighbours
        match name:
            case "minmax":
                return minmax_rows(self.tile)
            case "rows":
                return self.rows
            case "columns":
                return self.columns
            case "restandardized":
                return self.evidence
            case "ranks":
                return _log_ranks(self.evidence)
            case "reverse" if bank is not None:
                return np.where(self.silent[:, :, None], np.float32(0), bank.log_ranks(self.rows))
            case "topics" if bank is not None:
                return zscore_rows(bank.topical(self.columns))
            case "neighbours" if neighbours is not None:
                return _mean_over_neighbours(self.evidence, neighbours)
            case "neighbour-rows" if neighbours is not None:
                return _mean_over_neighbours(self.rows, neighbours)
        return None


def training_bank(
    stack: SimilarityStack, families: tuple[str, ...], bank_queries: SimilarityStack | None
) -> QueryBank | None:
    """Return the bank that a fuser keeps, where its channels need one.

    Parameters
    ----------
    stack : SimilarityStack
        Training queries; the bank is made of them where ``bank_queries`` is None.

    Raises
    ------
    LeakageError
        If the bank's queries are among the training queries.
    AlignmentError
        If they were not scored by every provider against the whole gallery.
    """
    if BANK_FAMILIES.isdisjoint(families):
        return None
    if bank_queries is None:
        return QueryBank.of(stack)
    shared = set(bank_queries.query_ids) & set(stack.query_ids)
    if shared:
        raise LeakageError(
            f"bank: expected other queries than those trained on, got {len(shared)} of them, e.g. "
            f"{min(shared)!r}. Leave the bank out: training makes one of its own queries."
        )
    return QueryBank.of(bank_queries).aligned(stack)


def gallery_neighbours(stack: SimilarityStack) -> NDArray[np.int64] | None:
    """Return the pooled nearest neighbours of every provider that knows them, (M, N), or None."""
    if not stack.neighbours:
        return None
    n_each = min(N_NEIGHBOURS, max(2, 2 * N_NEIGHBOURS // len(stack.neighbours)))
    lists = [stack.neighbours[name][:, :n_each] for name in sorted(stack.neighbours)]
    pooled = np.concatenate(lists, axis=1).T.astype(np.int64)
    return np.where(pooled >= 0, pooled, stack.n_gallery)


def usable_families(stack: SimilarityStack, families: tuple[str, ...]) -> tuple[str, ...]:
    """Return the families that this stack supports: all, or those without neighbours."""
    known = gallery_neighbours(stack) is not None
    return tuple(name for name in families if known or name not in NEIGHBOUR_FAMILIES)


def _log_ranks(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``-log(rank / n)``, centred: variance about 1 for any gallery; 0 if all are tied."""
    ranks = rank_rows(evidence)
    kept = np.isfinite(ranks)
    n = np.maximum(np.count_nonzero(kept, axis=2, keepdims=True), 1)
    logs = -np.log(np.where(kept, ranks, 1) / n.astype(np.float32))
    mean = np.where(kept, logs, 0).sum(axis=2, keepdims=True, dtype=np.float32) / n
    centred: NDArray[np.float32] = logs - mean.astype(np.float32)
    return centred


def _mean_over_neighbours(
    evidence: NDArray[np.float32], neighbours: NDArray[np.int64]
) -> NDArray[np.float32]:
    known = np.isfinite(evidence)
    shape = (*evidence.shape[:2], evidence.shape[2] + 1)  # one more candidate, which is "none"
    padded = np.zeros(shape, np.float32)
    np.copyto(padded[:, :, :-1], evidence, where=known)
    total = np.zeros(evidence.shape, np.float32)
    for nearest in neighbours:
        total += np.take(padded, nearest, axis=2)
    n = np.maximum((neighbours < evidence.shape[2]).sum(axis=0), 1)
    mean: NDArray[np.float32] = total / n.astype(np.float32)
    return mean
