"""What every pair provider must hold to: laws of single pairs, checked on a few of them.

Providers that score a whole gallery are checked in ``providers.py``, which also runs these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import PairProvider
from dafm_core.errors import DafmError
from dafm_core.testing.images import LAW, check_broken_images
from dafm_core.testing.randomness import check_random_state
from dafm_core.testing.results import Battery, Check, CheckFailed, CheckResult, NotApplicable
from dafm_core.testing.samples import ProviderSample

_battery = Battery(at_least=8)


def pair_checks() -> tuple[Check, ...]:
    """Return every check; each is called with a pair provider and a ProviderSample."""
    return tuple(_battery.checks)


def run_pair_checks(provider: PairProvider, sample: ProviderSample) -> list[CheckResult]:
    """Run every check on a pair provider; one result each, in a fixed order."""
    return _battery.run(provider, sample)


def _lists(sample: ProviderSample) -> list[Sequence[ImageRef]]:
    """Return a shortlist per query, of different lengths."""
    n = len(sample.gallery)
    return [sample.gallery[: max(1, n - i % n)] for i in range(len(sample.queries))]


def _score(
    provider: PairProvider, queries: Sequence[Query], lists: Sequence[Sequence[ImageRef]]
) -> list[np.ndarray]:
    return [np.asarray(scores) for scores in provider.score_pairs(queries, lists)]


def _expect_same(
    got: Sequence[np.ndarray], expected: Sequence[np.ndarray], sample: ProviderSample, law: str
) -> None:
    """Raise CheckFailed where scores differ by more than the tolerance."""
    if [scores.shape for scores in got] != [scores.shape for scores in expected]:
        raise CheckFailed(f"other lengths: {law}")
    joined, before = np.concatenate(got).astype(np.float64), np.concatenate(expected)
    spread = float(np.ptp(before)) or 1.0
    worst = float(np.max(np.abs(joined - before)))
    if not worst <= sample.tolerance * spread:
        raise CheckFailed(f"scores differ by {worst:.3g} of a spread of {spread:.3g}: {law}")


@_battery.add("There is one float32 array per query, with one score per candidate.")
def _shape_and_dtype(provider: PairProvider, sample: ProviderSample) -> None:
    lists = _lists(sample)
    answers = provider.score_pairs(sample.queries, lists)
    if len(answers) != len(lists):
        raise CheckFailed(f"expected {len(lists)} arrays, got {len(answers)}")
    for scores, images in zip(answers, lists, strict=True):
        if not isinstance(scores, np.ndarray) or scores.dtype != np.float32:
            kind = getattr(scores, "dtype", type(scores).__name__)
            raise CheckFailed(f"expected float32 arrays, got {kind}")
        if scores.shape != (len(images),):
            raise CheckFailed(f"expected {len(images)} scores, got shape {scores.shape}")


@_battery.add("No score is NaN or infinite.")
def _finite(provider: PairProvider, sample: ProviderSample) -> None:
    scores = np.concatenate(_score(provider, sample.queries, _lists(sample)))
    if not np.isfinite(scores).all():
        raise CheckFailed(f"{int((~np.isfinite(scores)).sum())} scores are NaN or infinite")


@_battery.add("A query without candidates gets an empty array.")
def _no_candidates(provider: PairProvider, sample: ProviderSample) -> None:
    lists: list[Sequence[ImageRef]] = [(), *_lists(sample)[1:]]
    if _score(provider, sample.queries, lists)[0].shape != (0,):
        raise CheckFailed("expected an array of no scores")


@_battery.add("Reversing the queries with their candidates reverses the arrays.")
def _query_order(provider: PairProvider, sample: ProviderSample) -> None:
    lists = _lists(sample)
    scores = _score(provider, sample.queries, lists)
    turned = _score(provider, sample.queries[::-1], lists[::-1])
    _expect_same(turned[::-1], scores, sample, "arrays do not follow the queries")


@_battery.add("Reversing the candidates reverses the scores.")
def _candidate_order(provider: PairProvider, sample: ProviderSample) -> None:
    lists = _lists(sample)
    scores = _score(provider, sample.queries, lists)
    turned = _score(provider, sample.queries, [images[::-1] for images in lists])
    _expect_same([row[::-1] for row in turned], scores, sample, "scores do not follow candidates")


@_battery.add("A query's scores do not depend on the other queries of the call.")
def _queries_apart(provider: PairProvider, sample: ProviderSample) -> None:
    lists = _lists(sample)
    scores = _score(provider, sample.queries, lists)
    alone = [
        _score(provider, (query,), (images,))[0]
        for query, images in zip(sample.queries, lists, strict=True)
    ]
    _expect_same(alone, scores, sample, "queries see each other")


@_battery.add("A pair's score does not depend on the rest of the shortlist.")
def _pairs_apart(provider: PairProvider, sample: ProviderSample) -> None:
    query, images = sample.queries[0], sample.gallery
    scores = _score(provider, (query,), (images,))
    alone = [_score(provider, (query,), ((image,),))[0] for image in images]
    _expect_same([np.concatenate(alone)], scores, sample, "candidates see each other")


@_battery.add("The same call gives the same bits.")
def _deterministic(provider: PairProvider, sample: ProviderSample) -> None:
    first, second = (
        np.concatenate(_score(provider, sample.queries, _lists(sample))) for _ in range(2)
    )
    if not np.array_equal(first, second):
        raise CheckFailed("a second call gave other scores")


@_battery.add("Scoring leaves the global random state of Python and NumPy alone.")
def _global_state(provider: PairProvider, sample: ProviderSample) -> None:
    check_random_state(lambda: _score(provider, sample.queries, _lists(sample)))


@_battery.add("Unusual texts are scored; one that is too long may be refused by a DafmError.")
def _unusual_texts(provider: PairProvider, sample: ProviderSample) -> None:
    too_long = "more red " * 300
    for text in ("", " \n\t", too_long, "ein größeres Kleid – 更红 🙂"):
        query = replace(sample.queries[0], id="unusual", text=text)
        try:
            (scores,) = _score(provider, (query,), (sample.gallery,))
        except Exception as error:
            if text == too_long and isinstance(error, DafmError):
                continue  # said in one line, which is better than cutting it silently
            raise CheckFailed(f"text {text[:20]!r} raised {error!r}") from error
        if scores.shape != (len(sample.gallery),) or not np.isfinite(scores).all():
            raise CheckFailed(f"text {text[:20]!r} has scores that are not finite, or too few")


@_battery.add(LAW)
def _broken_images(provider: PairProvider, sample: ProviderSample) -> None:
    def score(images: Sequence[ImageRef]) -> np.ndarray:
        lists = [images] * len(sample.queries)
        return np.concatenate(_score(provider, sample.queries, lists))

    check_broken_images(score, sample.gallery)


@_battery.add("The fingerprint is a mapping of strings that scoring does not change.")
def _fingerprint(provider: PairProvider, sample: ProviderSample) -> None:
    before = getattr(provider, "fingerprint", None)
    if before is None:
        raise NotApplicable("no fingerprint: the passport says nothing of the model")
    if not isinstance(before, Mapping) or not all(
        isinstance(part, str) for pair in before.items() for part in pair
    ):
        raise CheckFailed(f"expected a mapping of str to str, got {before!r}")
    kept = dict(before)
    _score(provider, sample.queries, _lists(sample))
    if dict(provider.fingerprint) != kept:  # type: ignore[attr-defined]
        raise CheckFailed("scoring changed the fingerprint")
