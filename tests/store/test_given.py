"""What Python hands over for a stack is checked as what comes from a file is."""

import numpy as np
import pytest

from dafm_core.errors import AlignmentError, SimilarityError
from dafm_core.store.stack import SimilarityStack


@pytest.fixture(scope="module")
def given(make_problem):
    """Return a dataset of 8 queries and 12 images, and scores of it."""
    dataset, stack = make_problem(n_queries=8, n_gallery=12)
    return dataset, np.array(stack.matrices[0])


def poked(scores, value, *, excluded, dataset):
    """Return scores with one cell changed: an excluded one, or another."""
    changed = scores.astype(np.float64)
    column = dataset.excluded[0][0]
    changed[0, column if excluded else (column + 1) % scores.shape[1]] = value
    return changed


SAID = {"nan": "NaN", "inf": r"\+inf", "-inf": "-inf"}
MADE = {
    "complex": lambda scores: scores + 1j,
    "truths": lambda scores: scores > 0,
    "texts": lambda scores: scores.astype(str),
    "objects": lambda scores: scores.astype(object),
    "masked": lambda scores: np.ma.masked_array(scores, scores > 0),
    "turned": lambda scores: scores.T,
    "close together": lambda scores: 1 + 1e-10 * scores.astype(np.float64),
    "large whole numbers": lambda scores: np.arange(96).reshape(8, 12) + 2**53,
    "too large": lambda scores: scores.astype(np.float64) * 1e300,
}


@pytest.mark.parametrize("kind", MADE)
def test_a_matrix_that_float32_does_not_hold_is_refused(given, kind):
    dataset, scores = given
    with pytest.raises(SimilarityError, match="provider 'mine': expected"):
        SimilarityStack.from_matrices({"mine": MADE[kind](scores)}, dataset)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("excluded", [True, False])
def test_only_an_excluded_cell_may_be_minus_infinite(given, value, excluded):
    dataset, scores = given
    changed = poked(scores, value, excluded=excluded, dataset=dataset)
    if excluded and value == -np.inf:
        assert SimilarityStack.from_matrices({"mine": changed}, dataset).names == ("mine",)
        return
    with pytest.raises(SimilarityError, match=f"got {SAID[str(value)]} for query"):
        SimilarityStack.from_matrices({"mine": changed}, dataset)


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({"neighbours": {"mine": np.zeros((3, 2), np.int32)}}, "whole numbers of shape"),
        ({"neighbours": {"mine": np.zeros((12, 2))}}, "whole numbers of shape"),
        ({"neighbours": {"mine": np.full((12, 2), 12)}}, "from 0 to 11"),
        ({"neighbours": {"other": np.zeros((12, 2), int)}}, "'other', which has no matrix"),
        ({"passports": {"other": {}}}, "'other', which has no matrix"),
    ],
)
def test_what_stands_beside_the_scores_belongs_to_them(given, beside, said):
    dataset, scores = given
    with pytest.raises(AlignmentError, match=said):
        SimilarityStack.from_matrices({"mine": scores}, dataset, **beside)


@pytest.mark.parametrize("matrices", [None, 3, "mine", [1], {1: 2}])
def test_something_else_is_named(given, matrices):
    with pytest.raises(TypeError, match=r"^(stack|provider names): expected (Mapping|str), got"):
        SimilarityStack.from_matrices(matrices, given[0])
    with pytest.raises(TypeError, match=r"^stack: expected Dataset, got str \('cirr'\)"):
        SimilarityStack.from_matrices({"mine": given[1]}, "cirr")
