"""Short codes: what they say of images is near exact scores, and nothing that is gone is found."""

import numpy as np
import pytest

from dafm_core.search import code_loops, screen, screened
from dafm_core.search.code_loops import CodeLoops
from dafm_core.search.codes import Codes, Coding
from dafm_core.search.moments import Moments
from dafm_core.search.screen import Screen

N, PARTS, NAMES = 900, (500, 400), ("a", "b")
WIDTHS = {"a": 24, "b": 33}
LOOPS = CodeLoops(
    code_loops.write_scores,
    code_loops.write_rest,
    code_loops.write_products,
    code_loops.write_half_products,
)


class Case:
    """Features whose directions count less and less, coded in two parts; a bank; a query."""

    def __init__(self, rng):
        self.features, self.query, self.rows, codings, first, rest = {}, {}, {}, {}, {}, []
        for name, width in WIDTHS.items():
            spread = 1 / np.arange(1, width + 1)
            turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
            made = ((rng.normal(size=(N, width)) * spread) @ turn + 0.3).astype(np.float32)
            queries = ((rng.normal(size=(30, width)) * spread) @ turn).astype(np.float32)
            moments = Moments.of([(made, None)])
            coding = codings[name] = Coding.of(moments, queries[1:], made)
            codes = coding.codes(made)
            parts = np.split(codes, [PARTS[0]])
            first[name] = [np.ascontiguousarray(part[:, : coding.n_first]) for part in parts]
            rest.append([part[:, coding.n_first :] for part in parts])
            self.features[name], self.query[name] = made, queries[0]
            self.rows[name] = moments.of_row(queries[0], np.empty(0, np.float32))
        said = rng.uniform(0.5, 1.5, (N, 4)).astype(np.float32)
        self.codes = Codes(
            codings,
            first,
            [np.ascontiguousarray(np.concatenate(some, 1)) for some in zip(*rest, strict=True)],
            np.split(said, [PARTS[0]]),
            NAMES,
        )
        self.z = np.stack(
            [self.rows[n].standardised(self.features[n] @ self.query[n]) for n in NAMES]
        )
        self.seen = (self.z - said[:, :2].T) / said[:, 2:].T
        self.column_of = np.arange(N)

    def asked(self, loops, excluded=(), **more):
        options = {"has_bank": True, "counted": True, **more}
        made = Screen(self.codes, self.column_of, loops)
        out = np.array(excluded, np.int64)
        return made(
            self.query, lambda name, *_: self.rows[name], np.array([0.7, 0.3]), out, **options
        )


@pytest.fixture(params=[None, LOOPS], ids=["numpy", "loops"])
def loops(request):
    return request.param


@pytest.fixture
def case(rng):
    return Case(rng)


def test_few_directions_are_enough_and_all_are_near(case):
    for name, coding in case.codes.codings.items():
        assert coding.n_first == 16
        features, query = case.features[name], case.query[name]
        exact = case.rows[name].standardised(features @ query)
        codes, weights = coding.codes(features), coding.weights(query)
        for some, far in ((slice(coding.n_first), 0.2), (slice(None), 0.04)):
            scores = codes[:, some] @ weights[some] + query @ coding.centre
            assert np.abs(case.rows[name].standardised(scores) - exact).std() < far


def test_images_are_scored_counted_and_found_as_exact_scores_say(case, loops):
    found = case.asked(loops)
    for mine, exact in ((found.scores, case.z), (found.seen, case.seen)):
        assert np.abs(mine - exact).std() < 0.2
    np.testing.assert_allclose(
        found.sum.values, [0.7, 0.3] @ found.seen.astype(np.float64), atol=1e-5
    )
    for k, tail in enumerate(found.tails(20)):
        edges, above = found.above(k, tail)
        expected = (case.seen[k] >= edges[:, None]).sum(axis=1)
        near = expected >= 20
        assert np.abs(np.log(above[near] / expected[near])).mean() < 0.02
        assert len(set(tail.columns) & set(np.argsort(-case.seen[k])[:20])) >= 19
    total = np.array([0.7, 0.3], np.float32) @ case.seen
    asked = [(found.sum, 20, 200), (found.scores_of(0), 10, 100), (found.seen_of(1), 10, 100)]
    for best, exact, n in zip(
        found.best(asked), (total, case.z[0], case.seen[1]), (20, 10, 10), strict=True
    ):
        assert len(best) == n
        assert len(set(best) & set(np.argsort(-exact)[:n])) >= n - 1
    shown = np.arange(N) % 3 == 0
    assert (found.best(asked, shown)[0] % 3 == 0).all()


def test_machine_code_and_numpy_say_the_same(case):
    plain, quick = case.asked(None), case.asked(LOOPS)
    for one, other in ((plain.scores, quick.scores), (plain.seen, quick.seen)):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for one, other in zip(
        plain.best([(plain.sum, 20, 200)]), quick.best([(quick.sum, 20, 200)]), strict=True
    ):
        assert set(one) == set(other)
    assert np.abs(plain.counts - quick.counts).sum() <= 4


def test_what_is_removed_or_excluded_is_neither_found_nor_counted(case, loops):
    first = int(np.argmax(case.seen[0]))
    kept = np.setdiff1d(np.arange(N), [first, 3])
    case.column_of = np.full(N, -1, np.int64)
    case.column_of[kept] = np.arange(N - 2)
    second = int(np.argmax(case.seen[0][kept]))
    found = case.asked(loops, [second])
    columns = found.best([(found.seen_of(0), 50, 300)])[0]
    assert columns.min() >= 0
    assert second not in columns
    assert set(found.counts.sum(axis=1)) == {N - 3}
    assert first not in found.some(N)


def test_threads_and_blocks_change_nothing(case, loops, monkeypatch):
    alone = case.asked(loops)
    scores, counts = alone.scores.copy(), alone.counts
    monkeypatch.setattr(screen, "N_SHARED", 1)
    monkeypatch.setattr(screen, "BLOCK", 130)
    monkeypatch.setattr(screened, "SOME", 7)
    shared = case.asked(loops)
    np.testing.assert_array_equal(shared.scores, scores)
    np.testing.assert_array_equal(shared.counts, counts)
    one, other = (found.best([(found.sum, 20, 200)])[0] for found in (alone, shared))
    assert set(one) == set(other)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_products_of_chosen_rows_are_those_of_all(case, dtype):
    features = case.features["a"].astype(dtype)
    rows, query = np.array([5, 899, 5, 17]), case.query["a"]
    out = np.empty(4, np.float32)
    if dtype == np.float32:
        code_loops.write_products(features, rows, query, out)
    else:
        words = np.empty(len(query), np.int32)
        bits, numbers = features.view(np.int16), words.view(np.float32)
        code_loops.write_half_products(bits, rows, query, words, numbers, out)
    np.testing.assert_allclose(out, features[rows].astype(np.float32) @ query, rtol=1e-4, atol=1e-5)
