"""What checks are run on: a few pictures and queries for providers, a made-up stack for fusers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.fusion.base import Fuser
from dafm_core.ground.ids import Ids
from dafm_core.store.shortlist import Shortlist, Unknown
from dafm_core.store.stack import SimilarityStack

PROTOCOL = "made-up"

_TEXTS = (
    "is red instead of blue",
    "same object from behind, two of them",
    "remove the dog and zoom out",
    "Shows a cat, not a dog!",
    "has longer sleeves and is more formal",
)


def queries_of(references: Sequence[ImageRef], texts: Sequence[str]) -> list[Query]:
    """Return a query per pair of reference image and text, called ``query-0``, ``query-1``, ..."""
    pairs = zip(references, texts, strict=True)
    return [
        Query(id=f"query-{i}", references=(reference,), text=text)
        for i, (reference, text) in enumerate(pairs)
    ]


@dataclass(frozen=True, kw_only=True)
class ProviderSample:
    """A few queries and candidates to check a provider on.

    Parameters
    ----------
    queries : tuple of Query
        At least two.
    gallery : tuple of ImageRef
        At least three, distinct.
    tolerance : float
        Differences that do not count, as a share of the scores' spread.
    """

    queries: tuple[Query, ...]
    gallery: tuple[ImageRef, ...]
    tolerance: float = 1e-3

    @classmethod
    def draw(cls, folder: Path, *, seed: int = 0) -> ProviderSample:
        """Return queries about random pictures, written to ``folder`` in several modes."""
        from PIL import Image

        rng = np.random.default_rng(seed)
        images = []
        for number, mode in enumerate(("RGB", "RGB", "L", "RGBA", "P", "RGB")):
            small = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
            size = (int(rng.integers(40, 120)), int(rng.integers(40, 120)))
            picture = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode)
            images.append(ImageRef(f"image-{number}", folder / f"image-{number}.png"))
            picture.save(folder / f"image-{number}.png")
        queries = [
            Query(id=f"query-{number}", references=(images[number],), text=text)
            for number, text in enumerate(_TEXTS)
        ]
        return cls(queries=tuple(queries), gallery=tuple(images))

    @classmethod
    def of_dataset(cls, dataset: Dataset, *, n_queries: int = 6) -> ProviderSample:
        """Return the first queries of a dataset, and the images they mention as the gallery."""
        queries = dataset.iter_queries(0, n_queries)
        ids = [reference.id for query in queries for reference in query.references]
        for targets in dataset.targets.take(np.arange(len(queries))):
            ids += [dataset.gallery_ids[column] for column in targets]
        ids += dataset.gallery_ids[:3]
        return cls(queries=tuple(queries), gallery=tuple(map(dataset.image, dict.fromkeys(ids))))


@dataclass(frozen=True)
class FuserSubject:
    """A fuser under test, and the stack it is tried on; fitted once, when first asked for.

    Parameters
    ----------
    fuser : Fuser
        Only its class and parameters are used; every check makes its own.
    n_queries, n_gallery, seed : int
        Size and seed of the made-up stack of three providers: one good, one fair, one with ties.
    """

    fuser: Fuser
    n_queries: int = 48
    n_gallery: int = 40
    seed: int = 0

    def fresh(self) -> Fuser:
        """Return an unfitted fuser with the same parameters."""
        return self.fuser.clone()

    @cached_property
    def dataset(self) -> Dataset:
        """Queries with one target each among a subset of six; two queries share a group; one
        candidate is excluded.
        """
        rng = np.random.default_rng(self.seed)
        gallery = [f"image-{i:02d}" for i in range(self.n_gallery)]
        rows = []
        for query in range(self.n_queries):
            reference, target = rng.choice(self.n_gallery, 2, replace=False)
            rows.append(
                {
                    "query_id": f"query-{query:02d}",
                    "reference": gallery[reference],
                    "text": "",
                    "group": f"group-{query // 2}",
                    "targets": [gallery[target]],
                    "excluded": [gallery[reference]],
                    "subset": [gallery[(target + i) % self.n_gallery] for i in range(6)],
                }
            )
        return Dataset(
            protocol=PROTOCOL, gallery_ids=Ids(gallery), queries=query_frame(rows, where=PROTOCOL)
        )

    @cached_property
    def matrices(self) -> dict[str, NDArray[np.float32]]:
        """Scores on a grid of 1/256, so that shifting and doubling them is exact in float32."""
        rng = np.random.default_rng(self.seed + 1)
        shape = (self.n_queries, self.n_gallery)
        matrices = {}
        for name, signal, step in (("good", 3.0, 256), ("fair", 1.5, 256), ("tied", 1.0, 2)):
            scores = rng.standard_normal(shape)
            scores[self.dataset.targets.rows, self.dataset.targets.values] += signal
            matrices[name] = (np.round(scores * step) / step).astype(np.float32)
        return matrices

    @cached_property
    def stack(self) -> SimilarityStack:
        """The three providers over all queries."""
        return self.stack_of(self.matrices)

    @cached_property
    def fitted(self) -> Fuser:
        """A fuser fitted on the whole stack."""
        return self.fresh().fit(self.stack)

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """What the fitted fuser makes of the stack."""
        return self.fitted.fuse(self.stack).scores

    def shortlisted(self, name: str, depth: int, meaning: Unknown = "below") -> SimilarityStack:
        """Return the stack with one provider's rows cut to each query's best ``depth``."""
        scores = self.matrices[name].copy()
        scores[self.dataset.excluded.rows, self.dataset.excluded.values] = -np.inf
        columns = [np.argsort(-row, kind="stable")[:depth] for row in scores]
        kept = [c[np.isfinite(row[c])] for row, c in zip(scores, columns, strict=True)]
        listed = Shortlist.of_lists(
            kept, [row[c] for row, c in zip(scores, kept, strict=True)], self.n_gallery
        )
        matrices = self.matrices | {name: listed}
        return SimilarityStack.from_matrices(matrices, self.dataset, unknown={name: meaning})

    def stack_of(
        self,
        matrices: Mapping[str, NDArray[np.float32]],
        *,
        excluded: Sequence[Sequence[str]] | None = None,
    ) -> SimilarityStack:
        """Return a stack of other matrices for the same queries and gallery.

        With ``excluded``, lists of images per query, no query has a target.
        """
        dataset = self.dataset
        if excluded is not None:
            nothing = pl.Series("targets", [[]] * self.n_queries, dtype=pl.List(pl.String))
            lists = pl.Series("excluded", excluded, dtype=pl.List(pl.String))
            dataset = replace(dataset, queries=dataset.queries.with_columns(nothing, lists))
        return SimilarityStack.from_matrices(matrices, dataset)
