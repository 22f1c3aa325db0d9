"""What every provider must hold to, checked on a few queries and images.

Fusers are checked in ``fusers.py``. A check compares scores up to a tolerance relative to their
spread, since a network's last bits change with its batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import (
    EncodingProvider,
    Features,
    Provider,
    Similarity,
    SimilarityProvider,
    has_dot_geometry,
    is_encoding,
    is_pair,
)
from dafm_core.errors import DafmError
from dafm_core.testing.images import LAW, check_broken_images
from dafm_core.testing.pairs import run_pair_checks
from dafm_core.testing.randomness import check_random_state
from dafm_core.testing.results import Battery, Check, CheckFailed, CheckResult, NotApplicable
from dafm_core.testing.samples import ProviderSample

_battery = Battery(at_least=10)
"""Four checks say nothing about a provider that neither factors nor has a fingerprint."""


def provider_checks() -> tuple[Check, ...]:
    """Return every check; each is called with a provider and a ProviderSample."""
    return tuple(_battery.checks)


def check_provider(provider: Provider, sample: ProviderSample | None = None) -> list[CheckResult]:
    """Run every check on a provider.

    Parameters
    ----------
    provider : SimilarityProvider, EncodingProvider or PairProvider
    sample : ProviderSample, optional
        Queries and images it can score; by default random pictures in a temporary folder.

    Returns
    -------
    list of CheckResult
        One per check, in a fixed order; one more, failed, where too few of them say something.
        ``summarize`` counts them.
    """
    if sample is not None:
        return _run(provider, sample)
    with TemporaryDirectory(prefix="dafm-check-") as folder:
        return _run(provider, ProviderSample.draw(Path(folder)))


def _run(provider: Provider, sample: ProviderSample) -> list[CheckResult]:
    if is_pair(provider):
        return run_pair_checks(provider, sample)
    return _battery.run(provider, sample)


def _score(provider: Provider, queries: Sequence[Query], gallery: Sequence[ImageRef]) -> Similarity:
    """Return what core would get from the provider."""
    if is_encoding(provider):
        return cast(EncodingProvider, provider).similarity(
            _encode_queries(provider, queries),
            cast(EncodingProvider, provider).encode_gallery(gallery),
        )
    return cast(SimilarityProvider, provider).similarity(queries, gallery)


def _encode_queries(provider: Provider, queries: Sequence[Query]) -> Features:
    return cast(EncodingProvider, provider).encode_queries(queries)


def _expect_same(got: Similarity, expected: Similarity, sample: ProviderSample, law: str) -> None:
    """Raise CheckFailed where scores differ by more than the tolerance."""
    if got.shape != expected.shape:
        raise CheckFailed(f"expected scores of shape {expected.shape}, got {got.shape}: {law}")
    spread = float(np.ptp(expected)) or 1.0
    worst = float(np.max(np.abs(got.astype(np.float64) - expected)))
    if not worst <= sample.tolerance * spread:
        raise CheckFailed(f"scores differ by {worst:.3g} of a spread of {spread:.3g}: {law}")


@_battery.add("Scores are a float32 array of shape (n_queries, n_gallery).")
def _shape_and_dtype(provider: Provider, sample: ProviderSample) -> None:
    scores = _score(provider, sample.queries, sample.gallery)
    expected = (len(sample.queries), len(sample.gallery))
    if not isinstance(scores, np.ndarray) or scores.dtype != np.float32:
        kind = getattr(scores, "dtype", type(scores).__name__)
        raise CheckFailed(f"expected a float32 array, got {kind}")
    if scores.shape != expected:
        raise CheckFailed(f"expected scores of shape {expected}, got {scores.shape}")


@_battery.add("No score is NaN or infinite.")
def _finite(provider: Provider, sample: ProviderSample) -> None:
    scores = _score(provider, sample.queries, sample.gallery)
    if not np.isfinite(scores).all():
        raise CheckFailed(f"{int((~np.isfinite(scores)).sum())} scores are NaN or infinite")


@_battery.add("Reversing the queries reverses the rows.")
def _query_order(provider: Provider, sample: ProviderSample) -> None:
    scores = _score(provider, sample.queries, sample.gallery)
    reversed_ = _score(provider, sample.queries[::-1], sample.gallery)
    _expect_same(reversed_, scores[::-1], sample, "rows do not follow the queries")


@_battery.add("Reversing the gallery reverses the columns.")
def _gallery_order(provider: Provider, sample: ProviderSample) -> None:
    scores = _score(provider, sample.queries, sample.gallery)
    reversed_ = _score(provider, sample.queries, sample.gallery[::-1])
    _expect_same(reversed_, scores[:, ::-1], sample, "columns do not follow the gallery")


@_battery.add("A query's scores do not depend on the other queries of its block.")
def _query_blocks(provider: Provider, sample: ProviderSample) -> None:
    scores = _score(provider, sample.queries, sample.gallery)
    alone = [_score(provider, (query,), sample.gallery) for query in sample.queries]
    _expect_same(np.concatenate(alone), scores, sample, "queries see each other")


@_battery.add("A candidate's scores do not depend on the rest of the gallery.")
def _gallery_blocks(provider: Provider, sample: ProviderSample) -> None:
    scores = _score(provider, sample.queries, sample.gallery)
    alone = [_score(provider, sample.queries, (image,)) for image in sample.gallery]
    _expect_same(np.concatenate(alone, axis=1), scores, sample, "candidates see each other")


@_battery.add("A provider that states geometry='dot' scores by the inner product of its features.")
def _dot_geometry(provider: Provider, sample: ProviderSample) -> None:
    if not has_dot_geometry(provider):
        raise NotApplicable("the provider states no geometry")
    model = cast(EncodingProvider, provider)
    asked, images = model.encode_queries(sample.queries), model.encode_gallery(sample.gallery)
    if asked.ndim != 2 or images.ndim not in (2, 3) or asked.shape[-1] != images.shape[-1]:
        raise CheckFailed(f"expected vectors of one width, got {asked.shape} and {images.shape}")
    several = images.reshape(len(images), -1, images.shape[-1]).astype(np.float64)
    product = np.einsum("qd,ntd->qnt", asked, several).max(axis=2)
    scores = model.similarity(asked, images)
    _expect_same(product.astype(np.float32), scores, sample, "scores are no inner products")


@_battery.add("The same call gives the same bits.")
def _deterministic(provider: Provider, sample: ProviderSample) -> None:
    first = _score(provider, sample.queries, sample.gallery)
    if not np.array_equal(first, _score(provider, sample.queries, sample.gallery)):
        raise CheckFailed("a second call gave other scores")


@_battery.add("Scoring leaves the global random state of Python and NumPy alone.")
def _global_state(provider: Provider, sample: ProviderSample) -> None:
    check_random_state(lambda: _score(provider, sample.queries, sample.gallery))


@_battery.add("The same query twice has equal rows; the same image twice has equal columns.")
def _duplicates(provider: Provider, sample: ProviderSample) -> None:
    queries = (*sample.queries[:2], replace(sample.queries[0], id="again"))
    gallery = (*sample.gallery[:2], sample.gallery[0])
    scores = _score(provider, queries, gallery)
    _expect_same(scores[2], scores[0], sample, "a repeated query has another row")
    _expect_same(scores[:, 2], scores[:, 0], sample, "a repeated image has another column")


@_battery.add("Unusual texts are scored; one that is too long may be refused by a DafmError.")
def _unusual_texts(provider: Provider, sample: ProviderSample) -> None:
    too_long = "more red " * 300
    texts = ("", " \n\t", too_long, "ein größeres Kleid – 更红 🙂")
    queries = [replace(sample.queries[0], id=f"text-{i}", text=t) for i, t in enumerate(texts)]
    for query in queries:
        try:
            scores = _score(provider, (query,), sample.gallery)
        except Exception as error:
            if query.text == too_long and isinstance(error, DafmError):
                continue  # said in one line, which is better than cutting it silently
            raise CheckFailed(f"text {query.text[:20]!r} raised {error!r}") from error
        if scores.shape != (1, len(sample.gallery)) or not np.isfinite(scores).all():
            raise CheckFailed(
                f"text {query.text[:20]!r} has scores that are not finite, or too few"
            )


@_battery.add(LAW)
def _broken_images(provider: Provider, sample: ProviderSample) -> None:
    check_broken_images(lambda images: _score(provider, sample.queries, images), sample.gallery)


@_battery.add("Features are finite float32 arrays with one row per item.")
def _feature_rows(provider: Provider, sample: ProviderSample) -> None:
    if not is_encoding(provider):
        raise NotApplicable("the provider does not factor")
    gallery = cast(EncodingProvider, provider).encode_gallery(sample.gallery)
    queries = _encode_queries(provider, sample.queries)
    for name, features, n in (
        ("gallery", gallery, len(sample.gallery)),
        ("query", queries, len(sample.queries)),
    ):
        if not isinstance(features, np.ndarray) or features.dtype != np.float32:
            kind = getattr(features, "dtype", type(features).__name__)
            raise CheckFailed(f"expected {name} features as a float32 array, got {kind}")
        if features.ndim < 2 or len(features) != n:
            raise CheckFailed(f"expected {n} rows of {name} features, got {features.shape}")
        if not np.isfinite(features).all():
            raise CheckFailed(f"{name} features are NaN or infinite")


@_battery.add(
    "Gallery features may be joined from blocks and be read-only, as core's cache gives them."
)
def _cached_features(provider: Provider, sample: ProviderSample) -> None:
    if not is_encoding(provider):
        raise NotApplicable("the provider does not factor")
    model = cast(EncodingProvider, provider)
    scores = _score(provider, sample.queries, sample.gallery)
    blocks = [model.encode_gallery(sample.gallery[:2]), model.encode_gallery(sample.gallery[2:])]
    try:
        features = np.concatenate(blocks)
    except ValueError as error:
        raise CheckFailed(f"features of two blocks cannot be joined: {error}") from error
    features.setflags(write=False)
    joined = model.similarity(_encode_queries(provider, sample.queries), features)
    _expect_same(joined, scores, sample, "cached features score differently")


@_battery.add("The fingerprint is a mapping of strings that scoring does not change.")
def _fingerprint(provider: Provider, sample: ProviderSample) -> None:
    before = getattr(provider, "fingerprint", None)
    if before is None:
        raise NotApplicable("no fingerprint: gallery features are not cached between runs")
    if not isinstance(before, Mapping) or not all(
        isinstance(part, str) for pair in before.items() for part in pair
    ):
        raise CheckFailed(f"expected a mapping of str to str, got {before!r}")
    kept = dict(before)
    _score(provider, sample.queries, sample.gallery)
    if dict(provider.fingerprint) != kept:  # type: ignore[union-attr]
        raise CheckFailed("scoring changed the fingerprint")
