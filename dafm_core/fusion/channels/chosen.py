"""Fused scores of a few chosen candidates of whole rows: what a live query over many images needs.

They are those that fusing the whole rows gives these candidates, to rounding: only what is looked
up per candidate (reverse ranks, topics, neighbours, networks) is spared for all the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Fuser, Scores, Tile
from dafm_core.fusion.channels.banked import BankedFusion
from dafm_core.fusion.channels.cells import Columns, channels_at, take
from dafm_core.fusion.channels.view import ChannelReader, TileView
from dafm_core.store.gallery import Gallery

ChosenScorer: TypeAlias = Callable[[Tile, Columns], Scores]
"""Fuses chosen candidates of whole rows, ``(B, K, N), (B, W) -> (B, W)``."""


class ChosenView(TileView):
    """A tile (B, K, N) whose channels are those of chosen candidates alone, (B, C, W)."""

    def __init__(self, reader: ChannelReader, tile: Tile, chosen: Columns) -> None:
        super().__init__(reader, tile)
        self._chosen = chosen

    def channels(self) -> NDArray[np.float32]:
        """Return the channels of the chosen candidates, (B, C, W)."""
        return channels_at(self, self._chosen)


class MadeView(ChosenView):
    """A :class:`ChosenView` that takes what it shows from a view of all, made once for both."""

    def __init__(self, view: TileView, chosen: Columns) -> None:
        super().__init__(view.reader, view.tile, chosen)
        self._view = view

    def channels(self) -> NDArray[np.float32]:
        """Return the channels of the chosen candidates, (B, C, W)."""
        return take(self._view.channels(), self._chosen)

    def context(self) -> NDArray[np.float32]:
        """Return what the shape of each whole row says about its query, (B, 5 K)."""
        return self._view.context()


class FamiliesView(TileView):
    """A view of some families of another, which makes them."""

    def __init__(self, view: TileView, families: tuple[str, ...]) -> None:
        layout = replace(view.reader.layout, families=families)
        super().__init__(replace(view.reader, layout=layout), view.tile)
        self._view = view

    def channels(self) -> NDArray[np.float32]:
        """Return the channels of these families, (B, C, N) or of chosen candidates (B, C, W)."""
        channels, families = self._view.channels(), self._view.reader.layout.families
        shape = (len(channels), len(families), -1, channels.shape[2])
        which = [families.index(name) for name in self.reader.layout.families]
        own = channels.reshape(shape)[:, which]
        return own.reshape(len(channels), -1, channels.shape[2])

    def context(self) -> NDArray[np.float32]:
        """Return what the shape of each row says about its query, (B, 5 K)."""
        return self._view.context()


def of_families(view: TileView, families: tuple[str, ...]) -> TileView:
    """Return the view of some families: the view itself where it has no other."""
    same = view.reader.layout.families == families
    return view if same else FamiliesView(view, families)


def chosen_scorer(fuser: Fuser, gallery: Gallery) -> ChosenScorer | None:
    """Return the function that fuses chosen candidates, or None where whole rows must be fused.

    That is so for fusions that do not score candidate by candidate from channels, and for
    verifiers' shortlists.

    Parameters
    ----------
    fuser : Fuser
        Fits the gallery: ``fuser.scorer(gallery)`` did not refuse it.
    gallery : Gallery
    """
    if not isinstance(fuser, BankedFusion) or gallery.unknown:
        return None
    reader, scorers = fuser.readied(gallery, ("gallery",))
    score_view = scorers["gallery"]

    def score(tile: Tile, chosen: Columns) -> Scores:
        fused = score_view(ChosenView(reader, tile, chosen))
        if fused.shape != chosen.shape:  # it looks at whole rows whatever it is shown
            fused = np.take_along_axis(fused, chosen, axis=1)
        fused[np.take_along_axis(np.isneginf(tile[:, 0]), chosen, axis=1)] = -np.inf
        return fused

    return score
