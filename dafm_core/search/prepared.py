"""What a fusion has ready for an index: a scorer for each set of providers that may answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

from dafm_core.cases.breakdown import scorers_without
from dafm_core.fusion.base import Fuser, TileScorer
from dafm_core.fusion.channels.banked import BankedFusion
from dafm_core.fusion.channels.chosen import ChosenScorer, chosen_scorer
from dafm_core.search.closed_form import Knowledge
from dafm_core.search.code_files import read_codes
from dafm_core.search.code_loops import CodeLoops
from dafm_core.search.engines import Rows, open_engine
from dafm_core.search.finding import ByCodes, ByDirections, Finder
from dafm_core.search.index import GalleryIndex
from dafm_core.search.live import RESIDENT_BYTES
from dafm_core.search.nearest import Nearest
from dafm_core.search.quickening import Quickening
from dafm_core.search.screened_rows import ScreenedRows
from dafm_core.search.spaces import spaces
from dafm_core.search.two_stage import TwoStage, two_stage
from dafm_core.store.gallery import Gallery

T = TypeVar("T")
Names = tuple[str, ...]


class Prepared:
    """Scorers of a fusion, made when they are first needed; safe to use from many threads.

    Parameters
    ----------
    index : GalleryIndex
    fuser : Fuser
    """

    def __init__(self, index: GalleryIndex, fuser: Fuser) -> None:
        self.index = index
        self.fuser = with_bank(fuser, index)
        self._scorers: dict[Names, TileScorer] = {}
        self._without: dict[Names, list[TileScorer]] = {}
        self._chosen: dict[Names, ChosenScorer | None] = {}
        self._stages: dict[Names, TwoStage | None] = {}
        self._lists: dict[Names, Quickening | None] = {}
        self._lock = threading.Lock()
        self._engines, self._engine_note = open_engine(index)

    @property
    def notes(self) -> tuple[str, ...]:
        """What every answer says of the index."""
        engine = (self._engine_note,) if self._engine_note else ()
        return (*self.index.manifest.notes, *engine)

    def scorer(self, names: Names) -> TileScorer:
        """Return what fuses whole rows; errors as :meth:`Fuser.scorer`."""
        return self._kept(self._scorers, names, self.fuser.scorer)

    def scorers_without(self, names: Names) -> list[TileScorer]:
        """Return what fuses whole rows without each provider."""
        return self._kept(self._without, names, lambda g: scorers_without(self.fuser, g))

    def chosen_scorer(self, names: Names) -> ChosenScorer | None:
        """Return what fuses chosen images of whole rows, or None where all must be fused."""
        return self._kept(self._chosen, names, lambda g: chosen_scorer(self.fuser, g))

    def lists(self, names: Names) -> Quickening | None:
        """Return what finds the best images of whole rows, or None where all must be fused."""
        return self._kept(self._lists, names, self._quickening)

    def _quickening(self, gallery: Gallery) -> Quickening | None:
        if not isinstance(self.fuser, BankedFusion) or gallery.unknown:
            return None
        can = self._fits_in_memory and gallery.names == self.index.names
        make_rows = self._screened_rows if can else None
        return Quickening(self.fuser.two_stages(gallery, compiled=False), make_rows)

    @property
    def _fits_in_memory(self) -> bool:
        entries = self.index.entries
        sizes = [self.index.features(name).n_bytes for name, e in entries.items() if e.is_dot]
        return len(sizes) == len(entries) and max(sizes) <= RESIDENT_BYTES

    def _screened_rows(self, loops: CodeLoops) -> ScreenedRows:
        """Return what gives rows quickly."""
        assert isinstance(self.fuser, BankedFusion)  # the caller has looked
        return ScreenedRows.of(self.index, self.fuser.bank_, loops)

    def two_stage(self, names: Names) -> TwoStage | None:
        """Return what ranks without whole rows, or None where they are needed."""
        if self._finder is None:
            return None
        self.scorer(names)  # refuses what the fusion cannot do without
        finder, knowledge = self._finder
        return self._kept(
            self._stages, names, lambda g: two_stage(self.fuser, g, knowledge, finder)
        )

    @cached_property
    def _finder(self) -> tuple[Finder, Knowledge] | None:
        knowledge = Knowledge.of(self.index)
        if knowledge is None:
            return None
        codes = None if self._engines else read_codes(self.index)
        if codes is not None:
            rows = Rows(self.index, len(self.index.manifest.part_rows))
            return ByCodes(knowledge, codes, rows.column_of), knowledge
        found = spaces(self.index).items()
        nearest = {name: Nearest(space, self._engines.get(name)) for name, space in found}
        return ByDirections(knowledge, nearest, self._how), knowledge

    @property
    def _how(self) -> str:
        if not self._engines:
            return ""
        share = min(engine.recall for engine in self._engines.values())
        return f", by an engine, which found {share:.3f} of the first 50 when it was made"

    def _kept(self, kept: dict[Names, T], names: Names, make: Callable[[Gallery], T]) -> T:
        """Return what a set of providers needs, made once."""
        with self._lock:
            if names not in kept:
                kept[names] = make(self.index.gallery.select(names))
            return kept[names]


def with_bank(fuser: Fuser, index: GalleryIndex) -> Fuser:
    """Return the fusion with what the index's bank says of its images.

    A bank of its own that knows all of them, as on the gallery it was trained on, is kept.
    """
    bank = index.bank
    if bank is None or not isinstance(fuser, BankedFusion) or not fuser.is_fitted:
        return fuser
    own = None if index.manifest.bank["given"] else fuser.bank_
    if own is not None and own.covers(index.gallery):
        return fuser
    return fuser.with_query_bank(bank, index.bank_ids, index.gallery)
