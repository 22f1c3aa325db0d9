"""A query's channels at chosen images, without a whole row of scores.

Mean and spread of a row, before and after a bank's column statistics, and topics are exact, from
``moments.py``. Ranks, and the entropy of a row, are counted among the chosen images and estimated
from what stands for the others, see ``others.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.families import CONTEXT_PER_PROVIDER
from dafm_core.fusion.channels.reverse_ranks import ReverseRanks
from dafm_core.fusion.channels.view import ChannelReader, TileView
from dafm_core.search.cells import IndexBank
from dafm_core.search.features import GalleryFeatures
from dafm_core.search.index import GalleryIndex
from dafm_core.search.moments import BankColumns, Moments, RowMoments
from dafm_core.search.others import All, CodedOthers, Counts, Others, Sample, SampledOthers

FAMILIES: Final = frozenset({"rows", "columns", "restandardized", "ranks", "reverse", "topics"})
"""Channels that can be made so; the others need whole rows."""
N_COUNTED: Final = 64
"""Images of the sample from which their number says how many there are of all;"""
COUNTED_STEP: Final = 1.05
"""so many times as many are counted next."""
N_TOP: Final = 100
"""First images of a row that its context looks at."""

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What is known of a large gallery before any query: features, moments, bank and sample."""

    features: Mapping[str, GalleryFeatures]
    moments: Mapping[str, Moments]
    bank: IndexBank | None
    index: GalleryIndex

    @property
    def n_images(self) -> int:
        """Number of images."""
        return self.index.n_images

    @cached_property
    def sample(self) -> Sample:
        """Images that stand for all."""
        return Sample.of(self.index)

    @classmethod
    def of(cls, index: GalleryIndex) -> Knowledge | None:
        """Return what is known, or None of a gallery that keeps no moments."""
        if set(index.moments) != set(index.names):
            return None
        bank = index.bank
        return cls(
            features={name: index.features(name) for name in index.names},
            moments=index.moments,
            bank=bank if isinstance(bank, IndexBank) else None,
            index=index,
        )

    def row(self, name: str, query: Vector) -> RowMoments:
        """Return mean and spread of a query's scores over the gallery."""
        return self.moments[name].of_row(query, np.empty(0, np.float32))

    def rows(
        self,
        queries: Mapping[str, Vector],
        chosen: NDArray[np.int64],
        excluded: NDArray[np.int64],
        *,
        has_bank: bool,
        only_z: bool = False,
        n_first: int = 0,
        every: All | None = None,
    ) -> list[Row]:
        """Return each provider's row of a query at chosen images, none of which is excluded.

        Parameters
        ----------
        queries : mapping of str to ndarray of shape (D,)
        chosen : ndarray of shape (W,), int64
            Each provider's nearest images are among them.
        has_bank : bool
            Whether channels are made of the bank.
        only_z : bool
            Whether standardised scores are all that is wanted, for which no sample is needed.
        n_first : int
            As many images of the highest evidence, under each provider, are among the chosen.
        every : All, optional
            What codes say of all images; they stand for the others instead of a sample.
        """
        known = np.concatenate([chosen, excluded])
        others: Others | None = None
        if every is not None and not only_z:
            others = CodedOthers.of(every, self.n_images, known)
        elif not only_z:
            others = SampledOthers.of(self.sample, self.n_images, known)
        bank = self.bank.at(known) if self.bank is not None and has_bank else {}
        rows = []
        for name, query in queries.items():
            scores = self.features[name].scores(known, query)
            own, out = scores[: len(chosen)], scores[len(chosen) :]
            row = Row.of(query, self.moments[name], own, out, bank.get(name), others, name)
            rows.append(replace(row, n_first=n_first))
        return rows


@dataclass(frozen=True, eq=False)
class Row:
    """One provider's row: its scores at W chosen images, and what stands for all the others.

    Parameters
    ----------
    row : RowMoments
    scores, z, evidence : ndarray of shape (W,)
        Raw, standardised, and as the bank sees them.
    other_z, other_evidence : ndarray of shape (n,)
        Of the sampled images that are not chosen, evidence ascending.
    weight : float
        Images that one of them stands for.
    bank : BankColumns or None
        At the chosen images.
    topics : ndarray of shape (W,)
    n_first : int
        As many images of the highest evidence are all among the chosen.
    counts : tuple of ndarray, optional
        Evidence, descending, and how many of all images are not below each.
    """

    row: RowMoments
    scores: Vector
    z: Vector
    evidence: Vector
    other_z: Vector
    other_evidence: Vector
    weight: float
    bank: BankColumns | None
    topics: Vector
    n_first: int = 0
    counts: Counts | None = None

    @classmethod
    def of(
        cls,
        query: Vector,
        moments: Moments,
        own: Vector,
        out: Vector,
        bank: BankColumns | None,
        others: Others | None,
        name: str,
    ) -> Row:
        """Standardise scores of chosen and of excluded images, and those of a sample."""
        row = moments.of_row(query, out)
        z = row.standardised(own)
        none, zeros = np.empty(0, np.float32), np.zeros_like(z)
        if others is None:
            return cls(row, own, z, z, none, none, 0.0, None, zeros)
        other_z, weight, counts = others.z(name, query, row), others.weight, others.counts(name)
        if bank is None or not row.std:
            other = np.sort(other_z if counts is None else none)
            return cls(row, own, z, z, other_z, other, weight, None, zeros, counts=counts)
        here, gone = _split(bank, len(own))
        columns = (z - here.mean) / here.std
        other = others.seen(name, other_z)
        lost = ((row.standardised(out) - gone.mean) / gone.std).astype(np.float64)
        mean, std = moments.of_columns(query, row, lost)
        scale, middle = np.float32(1 / std if std else 0), np.float32(mean)
        evidence, other = (columns - middle) * scale, np.sort((other - middle) * scale)
        if counts is not None:
            counts = (counts[0] - middle) * scale, counts[1]
        topics = _topics(moments, query, row, lost, here, gone)
        return cls(row, own, z, evidence, other_z, other, weight, here, topics, counts=counts)

    def family(self, name: str) -> Vector:
        """Return one family's channel, (W,)."""
        if not self.row.std:
            return np.zeros_like(self.z)
        match name:
            case "rows":
                return self.z
            case "columns" if self.bank is not None:
                return (self.z - self.bank.mean) / self.bank.std
            case "columns" | "restandardized":
                return self.evidence
            case "ranks":
                return self._log_ranks
            case "reverse" if self.bank is not None:
                return self._reverse(self.bank)
            case "topics":
                return self.topics
        return np.zeros_like(self.z)

    def context(self) -> NDArray[np.float64]:
        """Return what the shape of the row says about its query, (5,); see ``TileView.context``."""
        top = np.sort(self.z)[::-1][:N_TOP].astype(np.float64)
        first, second, tenth, last = (top[min(i, len(top) - 1)] for i in (0, 1, 9, N_TOP - 1))
        below, other = self.z - first, self.other_z - first
        chance, others = np.exp(below), self.weight * np.exp(other)
        total = chance.sum() + others.sum()
        entropy = np.log(total) - (chance @ below + others @ other) / total
        return np.array([first, first - second, first - tenth, tenth - last, entropy])

    @property
    def _log_ranks(self) -> Vector:
        """Return ``-log(rank / n)`` of the evidence, centred over the row as if none were tied."""
        evidence, n = self.evidence, int(self.row.n)
        ordered = np.sort(evidence)
        not_above = np.searchsorted(ordered, evidence, "right")
        level = not_above - np.searchsorted(ordered, evidence, "left")
        ranks = len(ordered) - not_above + (level + 1) / 2
        others, n_others = self.other_evidence, len(self.other_evidence)
        if self.counts is not None or (n_others and self.n_first):
            scores, known = self._known_ranks(ordered)
            beyond = evidence < (scores[-1] if self.n_first else np.inf)
            ranks[beyond] = np.exp(np.interp(evidence[beyond], scores, np.log(known)))
        elif n_others:
            above = n_others - np.arange(n_others) - 0.5
            ranks += self.weight * np.interp(evidence, others, above, right=0.0)
        logs: Vector = (math.lgamma(n + 1) / n - np.log(ranks)).astype(np.float32)
        return logs

    def _known_ranks(self, ordered: Vector) -> tuple[Vector, NDArray[np.float64]]:
        """Return scores, ascending, of which ranks are known, and those ranks.

        The highest is that of the last of the first images, whose ranks are counted; the others
        are of images of the sample, but for the highest of those, which are too few to count by.
        In between a rank is a straight line in its logarithm.
        """
        n_first = min(self.n_first, len(ordered))
        if self.counts is not None:
            scores, ranks = self.counts
        else:
            scores, ranks = self._sampled_ranks(ordered)
        first = ordered[len(ordered) - n_first] if n_first else np.float32(np.inf)
        lower = (scores < first) & (ranks > n_first)
        scores, ranks = scores[lower], ranks[lower]
        if n_first:
            scores, ranks = np.append(first, scores), np.append(n_first, ranks)
        return scores[::-1], ranks[::-1]

    def _sampled_ranks(self, ordered: Vector) -> tuple[Vector, NDArray[np.float64]]:
        """Return scores of the sample, descending, and the ranks that they stand for."""
        n_other = len(self.other_evidence)
        start = min(max(round(self.weight), 1), N_COUNTED)
        steps = np.arange(1 + int(np.log(max(n_other / start, 1)) / np.log(COUNTED_STEP)))
        counts = np.unique(np.round(start * COUNTED_STEP**steps).clip(1, n_other).astype(np.int64))
        counts = np.append(counts, n_other)
        scores = self.other_evidence[n_other - counts]
        own = len(ordered) - np.searchsorted(ordered, scores, "left")
        ranks = own + self.weight * counts
        return scores, ranks

    def _reverse(self, bank: BankColumns) -> Vector:
        reverse = ReverseRanks(bank.ranks, bank.thresholds[:, None])
        found: Vector = reverse.log_ranks(self.z[None, None])[0, 0]
        return found


class ClosedView(TileView):
    """A view of one query whose channels are those of chosen images alone, (1, C, W)."""

    def __init__(self, reader: ChannelReader, rows: Sequence[Row]) -> None:
        super().__init__(reader, np.stack([row.scores for row in rows])[None])
        self._rows = rows

    def channels(self) -> NDArray[np.float32]:
        """Return the channels, (1, C, W)."""
        return self._made

    @cached_property
    def _made(self) -> NDArray[np.float32]:
        layout = self.reader.layout
        shape = (len(layout.families), len(layout.providers), self.tile.shape[2])
        out = np.zeros(shape, np.float32)
        for f, name in enumerate(layout.families):
            for k, row in zip(self.reader.present, self._rows, strict=True):
                out[f, k] = row.family(name)
        return out.reshape(1, layout.n_channels, -1)

    def context(self) -> NDArray[np.float32]:
        """Return what the shape of each row says about the query, (1, 5 K)."""
        shape = (CONTEXT_PER_PROVIDER, len(self.reader.layout.providers))
        out = np.zeros(shape, np.float32)
        for k, row in zip(self.reader.present, self._rows, strict=True):
            out[:, k] = row.context()
        return out.reshape(1, -1)


def _split(bank: BankColumns, n: int) -> tuple[BankColumns, BankColumns]:
    """Return what a bank says of the first n images, and of the rest."""
    parts = [
        BankColumns(bank.ranks, bank.mean[s], bank.std[s], bank.thresholds[:, s], bank.topics[:, s])
        for s in (slice(0, n), slice(n, None))
    ]
    return parts[0], parts[1]


def _topics(
    moments: Moments,
    query: Vector,
    row: RowMoments,
    lost: NDArray[np.float64],
    here: BankColumns,
    gone: BankColumns,
) -> Vector:
    """Return what a row has in common with the bank's, standardised over the whole row."""
    away = gone.topics.astype(np.float64)
    shares = moments.topic_shares(query, row, lost, away)
    lost_share = shares @ away
    mean = float(shares @ moments.topic_sum - lost_share.sum()) / row.n
    square = float(shares @ moments.topics @ shares - (lost_share**2).sum()) / row.n
    std = math.sqrt(max(square - mean**2, 0.0))
    if std <= 1e-6:
        return np.zeros(here.topics.shape[1], np.float32)
    topics: Vector = (shares.astype(np.float32) @ here.topics - np.float32(mean)) / np.float32(std)
    return topics
