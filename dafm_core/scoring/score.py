"""From frozen models to the similarity store: batching, caching, progress, resuming, missing
images.

One provider at a time, one block of queries at a time; memory is bounded by the block. What comes
back from a provider is checked here, at the boundary, and nowhere else.
"""

from __future__ import annotations

import json
import logging
import reprlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, cast, get_args

import numpy as np

from dafm_core.catalog import PluginCatalog, find
from dafm_core.contract.contained import contained
from dafm_core.contract.descriptions import References
from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import (
    EncodingProvider,
    Features,
    Provider,
    Similarity,
    SimilarityProvider,
    is_encoding,
    is_pair,
)
from dafm_core.datasets.base import Dataset
from dafm_core.errors import DafmError, DatasetError, ImageError, ProviderError, SimilarityError
from dafm_core.ground.platform import peak_memory_bytes
from dafm_core.ground.printable import first_line
from dafm_core.scoring.feature_cache import cached_features
from dafm_core.scoring.neighbours import nearest_neighbours, neighbours_wanted
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore
from dafm_core.store.writer import ScoreWriter

logger = logging.getLogger(__name__)

MissingPolicy: TypeAlias = Literal["error", "skip"]
Scores: TypeAlias = tuple[int, Similarity]


class Progress(Protocol):
    """Told what is being done, and how far it is."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report ``done`` of ``total`` items of one stage, e.g. ``gallery`` or ``queries``."""
        ...


class Executor(Protocol):
    """Runs a function over blocks, here or elsewhere; yields results in any order."""

    def __call__(
        self, function: Callable[[tuple[int, int]], Scores], blocks: Iterable[tuple[int, int]]
    ) -> Iterator[Scores]:
        """Yield ``function(block)`` for each block."""
        ...


def run_local(
    function: Callable[[tuple[int, int]], Scores], blocks: Iterable[tuple[int, int]]
) -> Iterator[Scores]:
    """Run blocks one after the other in this process."""
    return map(function, blocks)


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def score(
    dataset: Dataset,
    providers: Sequence[str | Provider] | Mapping[str, Provider | Mapping[str, Any]],
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
        options of the registered provider of that name.
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
    for name, (provider, options, references) in _named(providers, catalog).items():
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
    require_whole_gallery(name, provider)
    check_references(dataset, name, getattr(provider, "references", references or "one"))
    job = _Job(dataset, name, provider, broken_images(dataset, on_missing, progress))
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


def check_references(dataset: Dataset, name: str, references: References) -> None:
    """Raise DatasetError where a provider cannot take a query; names the first, and counts all.

    A provider of ``"any"`` number of references, or of the text alone (``"none"``), takes every
    query.
    """
    if references not in get_args(References):
        raise ProviderError(
            f"provider {name!r}: expected references to be {' or '.join(get_args(References))}, "
            f"got {references!r}. Correct its description."
        )
    counts = dataset.queries["references"].list.len().to_numpy()
    other = np.flatnonzero(counts != 1)
    if references != "one" or not len(other):
        return
    raise DatasetError(
        f"provider {name!r}: expected exactly one reference image per query, got "
        f"{counts[other[0]]} for query {dataset.query_ids[other[0]]!r} ({len(other)} of "
        f"{dataset.n_queries} queries have none or several). Leave them out of the dataset, or "
        "use a provider whose description says references='any'."
    )


def _fill(
    writer: ScoreWriter,
    job: _Job,
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


def _announce(job: _Job) -> None:
    """Tell a provider that wants to know what it will be asked, before it is asked anything."""
    prepare = getattr(job.provider, "prepare", None)
    if callable(prepare):
        with named_errors(job.name, "all queries"):
            prepare(job.dataset.iter_queries(), list(job.images))


@dataclass
class _Job:
    """One provider on one dataset; picklable, so that an executor may run it elsewhere."""

    dataset: Dataset
    name: str
    provider: Provider
    broken: frozenset[str]
    features: Features | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.images = [i for i in self.dataset.gallery_images() if i.id not in self.broken]

    def passport(self) -> dict[str, Any]:
        return scored_passport(self.dataset, self.name, self.provider, self.broken)

    def encode_gallery(self, progress: Progress) -> float:
        """Encode the gallery where the provider factors; return the seconds it took."""
        started = time.perf_counter()
        if is_encoding(self.provider):
            self.features = cached_features(
                self.images,
                self._encode_images,
                fingerprint=features_key(self.name, self.passport()),
                on_block=lambda done: progress("gallery", done, len(self.images)),
            )
            if self.features.flags.owndata:
                self.features.flags.writeable = False  # every block must see the same
        return time.perf_counter() - started

    def score_block(self, block: tuple[int, int]) -> Scores:
        """Return the first row and the scores of queries ``start:stop``, (stop - start, N)."""
        start, stop = block
        queries = self.dataset.iter_queries(start, stop)
        whole = [self.broken.isdisjoint(r.id for r in query.references) for query in queries]
        kept = [i for i, is_whole in enumerate(whole) if is_whole]
        if len(kept) == len(queries) and len(self.images) == self.dataset.n_gallery:
            return start, self._score(queries, f"queries {start}:{stop}")
        scores = np.zeros((len(queries), self.dataset.n_gallery), np.float32)
        if kept:
            part = self._score([queries[i] for i in kept], f"queries {start}:{stop}")
            columns = self.dataset.gallery_ids.positions(image.id for image in self.images)
            scores[kept] = part.min(axis=1, keepdims=True)
            scores[np.ix_(np.array(kept), columns)] = part
        return start, scores

    def _score(self, queries: list[Query], where: str) -> Similarity:
        n_queries, queries = len(queries), list(queries)  # as the list of images below
        with named_errors(self.name, where):
            if self.features is None:
                images = list(self.images)  # a provider may do with its list what it likes
                scores = cast(SimilarityProvider, self.provider).similarity(queries, images)
            else:
                model = cast(EncodingProvider, self.provider)
                encoded = model.encode_queries(queries)
                check_features(encoded, n_queries, self.name, where)
                scores = model.similarity(encoded, self.features)
            scores = np.asarray(scores)
        expected = (n_queries, len(self.images))
        if scores.shape != expected:
            raise SimilarityError(
                f"provider {self.name!r}: expected similarity of shape {expected} for {where}, "
                f"got {scores.shape}. Rows follow queries, columns the gallery."
            )
        if scores.dtype.kind not in "fiu":
            raise SimilarityError(
                f"provider {self.name!r}: expected real numbers for {where}, got {scores.dtype}. "
                "Return an array of float32."
            )
        return scores

    def _encode_images(self, images: Sequence[ImageRef]) -> Features:
        where = f"images {images[0].id!r} to {images[-1].id!r}"
        with named_errors(self.name, where):
            features = np.asarray(cast(EncodingProvider, self.provider).encode_gallery(images))
        check_features(features, len(images), self.name, where)
        return features


def scored_passport(
    dataset: Dataset, name: str, provider: Provider, broken: frozenset[str]
) -> dict[str, Any]:
    """Return what decides the scores of a provider, for its passport."""
    references = set(dataset.queries["references"].explode().drop_nulls().to_list())
    return {
        "source": "scored",
        **provider_facts(provider, name),
        "missing_images": sorted(broken & set(dataset.gallery_ids)),
        "missing_references": sorted(broken & references),
    }


def provider_facts(provider: Provider, name: str) -> dict[str, Any]:
    """Return what decides a provider's output, whatever the dataset: ``fingerprint`` and ``code``.

    Raises
    ------
    ProviderError
        If the fingerprint is not a mapping of texts to JSON values.
    """
    return {"fingerprint": _fingerprint(provider, name), "code": _code_versions(provider)}


def features_key(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides gallery features, the key of their cache; empty where nobody knows."""
    given = facts["fingerprint"]
    return given and {"provider": name, **facts["code"], **given}


def require_whole_gallery(name: str, provider: Provider) -> None:
    """Raise ProviderError for a pair provider, which cannot score a whole gallery."""
    if is_pair(provider):
        raise ProviderError(
            f"provider {name!r}: scores pairs, and so needs a shortlist. Use score_pairs of "
            "dafm_core.scoring.pairs, or dafm score --shortlist union:50."
        )


@contextmanager
def named_errors(name: str, where: str) -> Iterator[None]:
    """Turn whatever a provider raises into a ProviderError that names it, and says how to go on."""
    try:
        with contained():
            yield
    except DafmError:
        raise
    except Exception as error:
        cause = first_line(error)
        raise ProviderError(
            f"provider {name!r}: raised {type(error).__name__}: {cause} at {where}. "
            "Finished blocks are kept: repair it and repeat the command to resume."
        ) from error


def check_features(features: Any, n_items: int, name: str, where: str) -> None:
    """Raise SimilarityError unless there is one row of finite numbers per item."""
    shape = getattr(features, "shape", None)
    if shape is None or len(shape) < 1 or shape[0] != n_items:
        raise SimilarityError(
            f"provider {name!r}: expected {n_items} feature rows for {where}, got shape {shape}."
        )
    if not np.isfinite(features).all():
        raise SimilarityError(
            f"provider {name!r}: expected finite features for {where}, got NaN or infinity."
        )


def broken_images(
    dataset: Dataset, on_missing: MissingPolicy, progress: Progress
) -> frozenset[str]:
    """Return the ids of images that cannot be decoded, if they are to be skipped."""
    if on_missing == "error":
        return frozenset()
    broken = set()
    references = dataset.queries["references"].explode().drop_nulls().to_list()
    ids = list(dict.fromkeys([*dataset.gallery_ids, *references]))
    for done, image_id in enumerate(ids, start=1):
        try:
            dataset.image(image_id).open()
        except ImageError as error:
            logger.warning("skipped: %s", error)
            broken.add(image_id)
        progress("images", done, len(ids))
    if broken.issuperset(dataset.gallery_ids):
        raise ImageError(
            f"{dataset.protocol}: no gallery image can be opened. Check the image folder."
        )
    return frozenset(broken)


def _named(
    providers: Sequence[str | Provider] | Mapping[str, Provider | Mapping[str, Any]],
    catalog: PluginCatalog | None,
) -> dict[str, tuple[Provider, dict[str, str], References | None]]:
    """Return providers by name, with the options for their passports and the references that
    their descriptions state; names are loaded.
    """
    if isinstance(providers, Mapping):
        asked: list[tuple[str | None, str | Provider | Mapping[str, Any]]] = []
        asked += [(name, value) for name, value in providers.items()]
    else:
        asked = [(None, value) for value in providers]
    named: dict[str, tuple[Provider, dict[str, str], References | None]] = {}
    for name, value in asked:
        if isinstance(value, str):
            name, value = value, {}
        if isinstance(value, Mapping):
            catalog = catalog or PluginCatalog.discover()
            options = {key: str(option) for key, option in value.items()}
            stated = find(catalog.providers, str(name), what="provider").references
            named[str(name)] = (*load_with_options(catalog, str(name), options), stated)
            continue
        name = name or getattr(value, "name", None)
        if not isinstance(name, str):
            raise ProviderError(
                f"{type(value).__name__}: expected a provider with a 'name', got none. "
                "Give it one, or pass {name: provider}."
            )
        named[name] = value, {}, None
    return named


def load_with_options(
    catalog: PluginCatalog, name: str, options: Mapping[str, str]
) -> tuple[Provider, dict[str, str]]:
    """Return a registered provider, and its options as a passport records them: a file by its name
    alone, so that a store is the same wherever the file lies.
    """
    provider = catalog.load_provider(name, options)
    info = find(catalog.providers, name, what="provider")
    paths = {option.name for option in info.options if option.kind == "path"}
    return provider, {k: Path(v).name if k in paths else v for k, v in options.items()}


def _fingerprint(provider: Provider, name: str) -> dict[str, Any]:
    """Return what a provider says decides its scores; raise ProviderError unless that is JSON."""
    given = getattr(provider, "fingerprint", {})
    try:
        if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
            raise TypeError
        json.dumps(dict(given), allow_nan=False)
    except (TypeError, ValueError):
        raise ProviderError(
            f"provider {name!r}: expected its fingerprint to be a mapping of texts, got "
            f"{reprlib.repr(given)}. Name what decides the scores, e.g. {{'checkpoint': SHA256}}."
        ) from None
    return dict(given)


def _code_versions(provider: Provider) -> dict[str, str]:
    """Return the versions of dafm-core and of the provider's distribution, where it has one."""
    versions = {"dafm-core": version("dafm-core")}
    distribution = type(provider).__module__.partition(".")[0].replace("_", "-")
    with suppress(PackageNotFoundError):
        versions[distribution] = version(distribution)
    return versions
