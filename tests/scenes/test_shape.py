from __future__ import annotations

import numpy as np
import pytest

from dafm_core.scenes.shape import label_blobs, measure_blobs


def flood(mask):
    """Label blobs one pixel at a time."""
    labels, number = np.zeros(mask.shape, int), 0
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        number += 1
        todo = [start]
        while todo:
            row, column = todo.pop()
            inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
            if inside and mask[row, column] and not labels[row, column]:
                labels[row, column] = number
                todo += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return labels


@pytest.mark.parametrize("density", [0.0, 0.3, 0.55, 0.7, 1.0])
def test_labels_are_those_of_a_flood_fill(density):
    masks = np.random.default_rng(0).random((4, 20, 20)) < density
    for labels, mask in zip(label_blobs(masks), masks, strict=True):
        pairs = set(zip(labels.ravel().tolist(), flood(mask).ravel().tolist(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        assert (labels > 0).tolist() == mask.tolist()


def test_outlines_do_not_change_when_a_blob_moves_or_turns():
    mask = np.zeros((3, 48, 48), bool)
    mask[0, 5:20, 8:18] = True
    mask[1, 25:40, 30:40] = True
    mask[2, 8:18, 5:20] = True
    owner, area, outline = measure_blobs(mask)
    assert owner.tolist() == [0, 1, 2]
    assert area.tolist() == [150, 150, 150]
    np.testing.assert_allclose(outline, outline[[0, 0, 0]], atol=1e-9)
