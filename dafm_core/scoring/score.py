"""From frozen models to the similarity store: one provider at a time, one block of queries at a
time, resumed where an earlier run was killed. Memory is bounded by the block.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dafm_core.catalog import PluginCatalog
from dafm_core.contract.descriptions import References
from dafm_core.contract.provider import Provider
from dafm_core.datasets.base import Dataset
from dafm_core.errors import OptionError, ProviderError, expect
from dafm_core.ground.platform import peak_memory_bytes
from dafm_core.ground.progress import Progress, silent
from dafm_core.scoring.boundary import check_references, named_errors, require_whole_gallery
from dafm_core.scoring.broken import MissingPolicy, broken_images
from dafm_core.scoring.job import Executor, ScoringJob, run_local
from dafm_core.scoring.named import Named, named_providers
from dafm_core.scoring.neighbours import nearest_neighbours, neighbours_wanted
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore
from dafm_core.store.writer import ScoreWriter


def score(
    dataset: Dataset,
    providers: Sequence[str | Provider] | Mapping[str, Named],
    *,
    store: str | Path,
    catalog: PluginCatalog | None = None,
    progress: Progress = silent,
    **settings: Any,
) -> SimilarityStack:
    """Score a dataset with several frozen models, and return their stack.

    Parameters
    ----------
    dataset : Dataset
    providers : sequence of names or providers, or mapping of name to options or provider
        ``["sprc", mine]``, where an object is called by its ``name`` attribute; or
        ``{"sprc": {"checkpoint": "sprc_cirr.pt"}, "mine": mine}``, where a mapping holds the
        options of the registered provider of that name; ``{"wide": ("sprc", {...})}`` calls it by
        another.
    store : path
        Made if it is not there; matrices already in it are kept.
    settings
        As for :func:`score_provider`.

    Raises
    ------
    DafmError
        As for :func:`score_provider`, and for unknown names.
    """
    opened = None
    for name, (provider, options, references) in named_providers(providers, catalog).items():
        opened = score_provider(
            dataset,
            name,
            provider,
            store=store,
            options=options,
            references=references,
            progress=progress,
            **settings,
        )
    if opened is None:
        raise ProviderError("score: expected at least one provider, got none.")
    return opened.stack()


def score_provider(
    dataset: Dataset,
    name: str,
    provider: Provider,
    *,
    store: str | Path,
    options: Mapping[str, str] | None = None,
    references: References | None = None,
    dtype: str = "float32",
    block_rows: int = 256,
    on_missing: MissingPolicy = "error",
    overwrite: bool = False,
    neighbours: bool | None = None,
    executor: Executor = run_local,
    progress: Progress = silent,
) -> SimilarityStore:
    """Score a dataset with one frozen model into a store; resume where an earlier run was killed.

    Parameters
    ----------
    dataset : Dataset
    name : str
        Folder of the matrix in the store.
    provider : SimilarityProvider or EncodingProvider
    store : path
    options : mapping of str
        The ``--set`` options, for the passport.
    references : {"one", "any", "none"}, optional
        How many reference images the provider takes, as its description says; an attribute
        ``references`` of the provider itself goes before, and without either it is one.
    dtype : {"float32", "float16"}
    block_rows : int, default=256
        Queries scored and written at a time.
    on_missing : {"error", "skip"}
        What an image that is missing or broken does. ``skip``: as a candidate it shares the lowest
        score of every row, as a reference it makes its query's row constant (chance); the passport
        counts both.
    overwrite : bool
        Replace a matrix of that name; the old one stays until the new one is complete.
    neighbours : bool, optional
        Whether to find each candidate's nearest others, where the provider encodes images; by
        default in a gallery of up to 50,000, since the work grows with its square.
    executor : Executor
        Where blocks of queries run.
    progress : Progress

    Raises
    ------
    DatasetError
        If the provider needs exactly one reference image, and a query has none or several; nothing
        is scored then.
    ProviderError
        If the provider raises; finished blocks are kept.
    SimilarityError
        For scores of a wrong shape, NaN or infinite ones; nothing of that block is written.
    ImageError
        For a missing or broken image under ``on_missing="error"``.
    StoreError
        As for :meth:`SimilarityStore.writer`.
    """
    expect(dataset, Dataset, where="score")
    expect(block_rows, int, where="score: block_rows")
    if block_rows < 1:
        raise OptionError(f"score: expected blocks of 1 query or more, got {block_rows}.")
    if not callable(executor):
        raise OptionError(
            f"score: expected an executor that can be called, got {executor!r}. See load_executor "
            "of dafm_core.scoring.executors."
        )
    require_whole_gallery(name, provider)
    check_references(dataset, name, getattr(provider, "references", references or "one"))
    job = ScoringJob(dataset, name, provider, broken_images(dataset, on_missing, progress))
    _announce(job)
    passport = job.passport() | {"options": dict(options or {})}
    with (
        SimilarityStore.filling(store, dataset) as opened,
        opened.writer(
            name, passport=passport, dtype=dtype, block_rows=block_rows, overwrite=overwrite
        ) as writer,
    ):
        if not writer.complete:
            wanted = neighbours_wanted(dataset.n_gallery, asked=neighbours)
            _fill(writer, job, executor, progress, neighbours=wanted)
    return opened


def _fill(
    writer: ScoreWriter,
    job: ScoringJob,
    executor: Executor,
    progress: Progress,
    *,
    neighbours: bool,
) -> None:
    """Score every block that is not on disk, and keep what it took."""
    pending = writer.pending()
    n_queries = job.dataset.n_queries
    gallery_seconds = job.encode_gallery(progress)
    started = time.perf_counter()
    n_pending = sum(stop - start for start, stop in pending)
    done = n_queries - n_pending
    progress("queries", done, n_queries)
    for start, scores in executor(job.score_block, pending):
        writer.write(start, scores)
        done += len(scores)
        progress("queries", done, n_queries)
    writer.add_cost(
        gallery_seconds=round(gallery_seconds, 3),
        ms_per_query=round(1000 * (time.perf_counter() - started) / max(1, n_pending), 4),
        peak_memory_gb=round(peak_memory_bytes() / 2**30, 3),
    )
    if neighbours and job.features is not None and not job.broken:
        writer.add_neighbours(nearest_neighbours(job.features))


def _announce(job: ScoringJob) -> None:
    """Tell a provider that wants to know what it will be asked, before it is asked anything."""
    prepare = getattr(job.provider, "prepare", None)
    if callable(prepare):
        with named_errors(job.name, "all queries"):
            prepare(job.dataset.iter_queries(), list(job.images))
