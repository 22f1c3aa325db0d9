"""What every fuser must hold to: the laws of the stack -> run contract, on a small made-up stack.

Providers are checked in ``providers.py``. A fuser whose scores depend on the order of the gallery,
as one preset of LightFusion does on purpose, has to say so by an attribute
``gallery_order_matters = True``; only the first law is waived then, and counted as such.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError, FuserError
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.record import FitRecord
from dafm_core.metrics.families import HEADS
from dafm_core.store.shortlist import Unknown
from dafm_core.store.stack import SimilarityStack
from dafm_core.testing.results import Battery, Check, CheckFailed, CheckResult, NotApplicable
from dafm_core.testing.samples import FuserSubject

_battery = Battery(at_least=18)
"""The first law alone can be waived."""

TOLERANCE = 1e-4
"""Share of the spread of the fused scores by which two that should be equal may differ."""


def fuser_checks() -> tuple[Check, ...]:
    """Return every check; each is called with a FuserSubject."""
    return tuple(_battery.checks)


def check_fuser(fuser: Fuser, *, seed: int = 0) -> list[CheckResult]:
    """Run every check on fusers of this class and with these parameters.

    Parameters
    ----------
    fuser : Fuser
        Need not be fitted, and is not changed.

    Returns
    -------
    list of CheckResult
        One per check, in a fixed order; one more, failed, where too few of them say something.
        ``summarize`` counts them.
    """
    return _battery.run(FuserSubject(fuser, seed=seed))


def _expect_same(got: NDArray[np.float32], expected: NDArray[np.float32], law: str) -> None:
    """Raise CheckFailed unless scores agree up to the tolerance, and the same cells are -inf."""
    if got.shape != expected.shape or not np.array_equal(np.isneginf(got), np.isneginf(expected)):
        raise CheckFailed(f"other shape or other excluded cells: {law}")
    kept = np.isfinite(expected)
    spread = float(np.ptp(expected[kept])) or 1.0
    worst = float(np.max(np.abs(got[kept].astype(np.float64) - expected[kept])))
    if not worst <= TOLERANCE * spread:
        raise CheckFailed(f"scores differ by {worst:.3g} of a spread of {spread:.3g}: {law}")


def _expect_same_ranking(got: NDArray[np.float32], expected: NDArray[np.float32], law: str) -> None:
    """Raise CheckFailed where two candidates change places by more than the tolerance."""
    for row, (new, old) in enumerate(zip(got, expected, strict=True)):
        order = np.argsort(-old, kind="stable")
        ranked = new[order][np.isfinite(old[order])]
        slack = TOLERANCE * (float(np.ptp(ranked)) or 1.0)
        if (ranked < np.maximum.accumulate(ranked[::-1])[::-1] - slack).any():
            raise CheckFailed(f"query {row} is ranked differently: {law}")


def _expect_defined(scores: NDArray[np.float32], stack: SimilarityStack, law: str) -> None:
    """Raise CheckFailed unless excluded cells are -inf and all others finite."""
    excluded = np.zeros(scores.shape, bool)
    cells = stack.dataset.excluded
    excluded[cells.rows, cells.values] = True
    if not np.isneginf(scores[excluded]).all():
        raise CheckFailed(f"an excluded candidate has a score: {law}")
    if not np.isfinite(scores[~excluded]).all():
        raise CheckFailed(f"a score is NaN or infinite: {law}")


@_battery.add("A run is float32 of shape (n_queries, n_gallery), -inf exactly where excluded.")
def _run_shape(subject: FuserSubject) -> None:
    scores = subject.scores
    expected = (subject.n_queries, subject.n_gallery)
    if scores.dtype != np.float32 or scores.shape != expected:
        raise CheckFailed(f"expected float32 {expected}, got {scores.dtype} {scores.shape}")
    _expect_defined(scores, subject.stack, "plain fuse")


@_battery.add("Law 1: permuting the gallery permutes the scores.")
def _gallery_permutation(subject: FuserSubject) -> None:
    if subject.fuser.gallery_order_matters:
        raise NotApplicable("the fuser says that gallery_order_matters")
    order = np.random.default_rng(subject.seed).permutation(subject.n_gallery)
    permuted = subject.stack.take_gallery([subject.stack.gallery_ids[i] for i in order])
    got = subject.fitted.fuse(permuted).scores
    _expect_same(got, subject.scores[:, order], "gallery permuted")


@_battery.add("Law 2: the order in which providers are added changes nothing.")
def _provider_order(subject: FuserSubject) -> None:
    turned = subject.stack_of(dict(reversed(subject.matrices.items())))
    got = subject.fresh().fit(turned).fuse(turned).scores
    if not np.array_equal(got, subject.scores):
        raise CheckFailed("scores changed with the order of providers")


@_battery.add("Law 3: shifting a provider's row, or scaling it, changes no ranking.")
def _row_scaling(subject: FuserSubject) -> None:
    rng = np.random.default_rng(subject.seed)
    moved = {}
    for name, scores in subject.matrices.items():
        scale = rng.choice([0.5, 1.0, 4.0], (subject.n_queries, 1))
        shift = rng.integers(-3, 4, (subject.n_queries, 1))
        moved[name] = (scores * scale + shift).astype(np.float32)
    got = subject.fitted.fuse(subject.stack_of(moved)).scores
    _expect_same_ranking(got, subject.scores, "rows shifted and scaled")


@_battery.add("Law 4: same seed, same inputs, same bits.")
def _deterministic(subject: FuserSubject) -> None:
    again = subject.fresh().fit(subject.stack)
    if not np.array_equal(again.fuse(subject.stack).scores, subject.scores):
        raise CheckFailed("a second fit and fuse gave other scores")


@_battery.add("Law 5: a query's row does not depend on the other queries of the tile.")
def _tile_independence(subject: FuserSubject) -> None:
    score = subject.fitted.scorer(subject.stack)
    sizes = (1, 7, subject.n_queries)
    for size in sizes:
        rows = [score(tile) for _, tile in subject.stack.tiles(size)]
        _expect_same(np.concatenate(rows), subject.scores, f"tiles of {size} queries")


@_battery.add("Queries are scored in any order and selection.")
def _query_selection(subject: FuserSubject) -> None:
    rows = np.random.default_rng(subject.seed).permutation(subject.n_queries)[:5]
    part = subject.stack.take_queries([subject.stack.query_ids[row] for row in rows])
    _expect_same(subject.fitted.fuse(part).scores, subject.scores[rows], "five queries taken")


@_battery.add("A provider that scores every candidate alike leaves all scores finite.")
def _constant_rows(subject: FuserSubject) -> None:
    flat = {name: np.zeros_like(scores) for name, scores in subject.matrices.items()}
    for names in (["good"], list(flat)):
        stack = subject.stack_of(subject.matrices | {name: flat[name] for name in names})
        _expect_defined(subject.fitted.fuse(stack).scores, stack, "constant rows when used")
        fitted = subject.fresh().fit(stack)
        _expect_defined(fitted.fuse(stack).scores, stack, "constant rows when fitted")


@_battery.add("K = 1: one provider is fused to defined scores.")
def _one_provider(subject: FuserSubject) -> None:
    stack = subject.stack.select(["good"])
    scores = subject.fresh().fit(stack).fuse(stack).scores
    _expect_defined(scores, stack, "one provider")


@_battery.add("N = 1: a gallery of one candidate is fused to defined scores.")
def _one_candidate(subject: FuserSubject) -> None:
    stack = subject.stack.take_gallery(subject.stack.gallery_ids[:1])
    _expect_defined(subject.fitted.fuse(stack).scores, stack, "one candidate")


@_battery.add("A query with all candidates excluded but one, or all of them, is defined.")
def _nearly_all_excluded(subject: FuserSubject) -> None:
    every = list(subject.dataset.gallery_ids)
    excluded = [every[1:], every, *[[]] * (subject.n_queries - 2)]
    stack = subject.stack_of(subject.matrices, excluded=excluded)
    _expect_defined(subject.fitted.fuse(stack).scores, stack, "nearly all excluded")


@_battery.add("Scores of very different size and sign are fused to defined scores.")
def _extreme_scales(subject: FuserSubject) -> None:
    scales: Sequence[float] = (1e-6, -1e6, 1e6)
    pairs = zip(subject.matrices.items(), scales, strict=True)
    matrices = {name: (scores * scale).astype(np.float32) for (name, scores), scale in pairs}
    stack = subject.stack_of(matrices)
    fitted = subject.fresh().fit(stack)
    _expect_defined(fitted.fuse(stack).scores, stack, "extreme scales")


@_battery.add("A row given as a shortlist of all candidates is fused as the row itself.")
def _whole_shortlist(subject: FuserSubject) -> None:
    stack = subject.shortlisted("good", subject.n_gallery)
    got = subject.fresh().fit(stack).fuse(stack).scores
    _expect_same(got, subject.scores, "a list of all candidates")


@_battery.add("Rows that cover a shortlist, of either meaning, are fused to defined scores.")
def _short_lists(subject: FuserSubject) -> None:
    meanings: Sequence[Unknown] = ("below", "not-asked")
    for meaning in meanings:
        stack = subject.shortlisted("good", 6, meaning)
        _expect_defined(subject.fitted.fuse(stack).scores, stack, f"a list, {meaning}, when used")
        fitted = subject.fresh().fit(stack)
        _expect_defined(fitted.fuse(stack).scores, stack, f"a list, {meaning}, when fitted")


@_battery.add("Before fit a fuser says that it is not fitted, or has a defined default.")
def _unfitted(subject: FuserSubject) -> None:
    try:
        scores = subject.fresh().fuse(subject.stack).scores
    except FuserError:
        return
    _expect_defined(scores, subject.stack, "used without fit")


@_battery.add("A stack of other providers than those fitted on is refused.")
def _other_providers(subject: FuserSubject) -> None:
    others = subject.stack_of({f"other-{name}": m for name, m in subject.matrices.items()})
    try:
        subject.fitted.fuse(others)
    except AlignmentError:
        return
    raise CheckFailed("providers it was not fitted on were accepted")


@_battery.add("Queries whose targets fit used are kept, so that evaluating on them is refused.")
def _fitted_queries(subject: FuserSubject) -> None:
    kept = subject.fitted.record_.query_ids
    everything = frozenset(subject.dataset.query_ids)
    if kept != everything and (kept or subject.fuser.learns):
        raise CheckFailed(f"expected all {len(everything)} queries, got {len(kept)}")


@_battery.add("What fit learned survives JSON and arrays: a restored fuser gives the same bits.")
def _state_round_trip(subject: FuserSubject) -> None:
    arrays, values = subject.fitted.get_state()
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype == object:
            raise CheckFailed(f"state array {name!r} is a {type(array).__name__}")
    params = json.loads(json.dumps(subject.fuser.params()))
    restored = type(subject.fuser)(**params)
    record = json.loads(json.dumps(subject.fitted.record_.to_json()))
    restored.record_ = FitRecord.from_json(record)
    copied: dict[str, NDArray[Any]] = {name: array.copy() for name, array in arrays.items()}
    restored.set_state(copied, json.loads(json.dumps(values)))
    if restored.heads != subject.fitted.heads:
        raise CheckFailed(f"expected the heads {subject.fitted.heads}, got {restored.heads}")
    for head in HEADS:
        one, other = (f.scorer(subject.stack, head=head) for f in (subject.fitted, restored))
        for _, tile in subject.stack.tiles():
            if not np.array_equal(one(tile), other(tile)):
                raise CheckFailed(f"a restored fuser gave other scores of the {head} head")


@_battery.add("What ranks the query's subset has a defined score for every candidate.")
def _subset_head(subject: FuserSubject) -> None:
    score = subject.fitted.scorer(subject.stack, head="subset")
    scores = np.concatenate([score(tile) for _, tile in subject.stack.tiles()])
    _expect_defined(scores, subject.stack, "scores of the subset head")
