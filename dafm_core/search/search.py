"""Live queries: every provider scores the images, the fitted fusion ranks them.

``Search`` is what a command, a service and a page share. It may be used by many threads at once.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from dafm_core.catalog import PluginCatalog
from dafm_core.contract.items import ImageRef
from dafm_core.contract.provider import Provider
from dafm_core.errors import OptionError
from dafm_core.fusion.base import Fuser
from dafm_core.search.answers import Answer
from dafm_core.search.few_images import FewImages
from dafm_core.search.index import GalleryIndex
from dafm_core.search.live import load_providers
from dafm_core.search.prepared import Prepared
from dafm_core.search.requests import Filter, Reference, Request
from dafm_core.search.whole_rows import WholeRows

_ONE: Final = (str, Path, ImageRef)
BUDGET: Final = 50
"""Images of the head that a pair provider is asked about, by default."""
NEAREST: Final = 500
"""First images of each provider that the fusion ranks, where a gallery has many more."""
BATCH: Final = 32
"""Queries scored at a time."""
TILE_BYTES: Final = 64 << 20
"""Memory of the raw scores that are fused at a time."""


class Search:
    """Answers queries over an index with a fitted fusion.

    Parameters
    ----------
    index : GalleryIndex
    fuser : Fuser
        Fitted on the index's providers, or on more where it can do without some.
    providers : mapping of str to Provider, optional
        Objects to use instead of loading what the index names.
    settings : mapping of str to mapping of str, optional
        Options of providers that replace those of the index, e.g. paths on this machine.
    budget : int, default=50
        Images of each query's head that a pair provider is asked about.
    nearest : int, default=500
        Where hits are not explained and the fusion scores candidate by candidate, it ranks the
        union of each provider's first ``nearest`` images, with the very scores that they have in
        whole rows; an image outside it is no hit.
    timeout : float, optional
        Seconds that one call of a provider may take; one that takes longer is left out of the
        answer, and of later ones until it has returned. By default as long as it likes.
    without : mapping of str to str, optional
        Providers to do without: neither loaded nor asked. Each answer gives the reason.

    Raises
    ------
    AlignmentError
        If the fuser was fitted on other providers or other models, or a provider is another model
        than the one that made the index; says which, and what to do.
    """

    def __init__(
        self,
        index: GalleryIndex,
        fuser: Fuser,
        *,
        providers: Mapping[str, Provider] | None = None,
        settings: Mapping[str, Mapping[str, str]] | None = None,
        catalog: PluginCatalog | None = None,
        budget: int = BUDGET,
        nearest: int = NEAREST,
        timeout: float | None = None,
        without: Mapping[str, str] | None = None,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise OptionError(f"search: expected timeout > 0, got {timeout:g}.")
        if nearest < 1 or budget < 0:
            raise OptionError(
                f"search: expected nearest >= 1 and budget >= 0, got {nearest} and {budget}."
            )
        self.index = index
        self._prepared = Prepared(index, fuser)
        self._prepared.scorer(index.names)  # refuses, before anything is loaded, what does not fit
        live = load_providers(
            index, providers, settings=settings, catalog=catalog, seconds=timeout, without=without
        )
        self._live = live
        self._whole_rows = WholeRows(self._prepared, live, budget=budget, nearest=nearest)
        self._few_images = FewImages(self._prepared, live, nearest=nearest)

    @property
    def fuser(self) -> Fuser:
        """The fusion, with what the index's bank says of its images."""
        return self._prepared.fuser

    @property
    def notes(self) -> tuple[str, ...]:
        """What every answer says of the index and its engine."""
        return self._prepared.notes

    @property
    def late(self) -> tuple[str, ...]:
        """Providers of which a call has not returned in time, and still has not."""
        return tuple(name for name, provider in self._live.items() if provider.is_late)

    @property
    def left_out(self) -> dict[str, str]:
        """Providers that no query is asked of, with the reason."""
        return {name: p.left_out for name, p in self._live.items() if p.left_out is not None}

    def query(
        self,
        references: Reference | Sequence[Reference] = (),
        text: str = "",
        k: int = 10,
        *,
        filter: Filter | None = None,  # noqa: A002  # the word of the field
        exclude: Collection[str] | None = None,
        vectors: Mapping[str, NDArray[Any]] | None = None,
        explain: bool = True,
    ) -> Answer:
        """Return the best images for references and a text; see :class:`Request`.

        Parameters
        ----------
        explain : bool, default=True
            Whether hits say where they would stand without each provider, which costs about as
            much again for each.

        Raises
        ------
        DafmError
            See :meth:`Request.query` and :meth:`Request.shown`; ProviderError where no provider
            could answer, or the fusion cannot do without one that could not.
        """
        request = Request(
            references=(references,) if isinstance(references, _ONE) else tuple(references),
            text=text,
            k=k,
            filter=filter,
            exclude=exclude,
            vectors=vectors or {},
        )
        return self.batch([request], explain=explain)[0]

    def batch(self, requests: Sequence[Request], *, explain: bool = False) -> list[Answer]:
        """Return the answers to several queries, which are encoded and scored together.

        Errors as :meth:`query`, at the first query that has one.
        """
        answers: list[Answer] = []
        few = not explain and self._few_images.can_answer(requests)
        rows = max(1, TILE_BYTES // (4 * len(self.index.names) * self.index.n_images))
        size = BATCH if few else min(BATCH, rows)
        for start in range(0, len(requests), size):
            started, some = time.perf_counter(), requests[start : start + size]
            batch = (
                self._few_images.answer(some)
                if few
                else self._whole_rows.answer(some, explain=explain)
            )
            seconds = (time.perf_counter() - started) / len(batch)
            answers += [replace(one, seconds=seconds) for one in batch]
        return answers
