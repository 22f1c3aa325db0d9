"""Static rules against ranx, another package's fusion, on small lists."""

import numpy as np
import pytest
import ranx

from dafm_core.fusion.static import MaxFusion, MeanFusion, VotingFusion


@pytest.fixture
def small(make_problem):
    _, stack = make_problem(n_queries=8, n_gallery=12)
    runs = []
    for k, name in enumerate(stack.names):
        rows = {}
        for q, query_id in enumerate(stack.query_ids):
            scores = stack.tile(q, q + 1)[0, k]
            kept = np.isfinite(scores)
            ids = np.array(stack.gallery_ids)[kept]
            rows[query_id] = dict(
                zip(ids.tolist(), scores[kept].astype(float).tolist(), strict=True)
            )
        runs.append(ranx.Run(rows, name=name))
    return stack, runs


@pytest.mark.parametrize(
    ("fuser", "options"),
    [
        (MeanFusion(normalize="zscore"), {"method": "sum", "norm": "zmuv"}),
        (MeanFusion(normalize="minmax"), {"method": "sum", "norm": "min-max"}),
        (MaxFusion(normalize="zscore"), {"method": "max", "norm": "zmuv"}),
        (MaxFusion(normalize="minmax"), {"method": "max", "norm": "min-max"}),
        (MeanFusion(normalize="rank"), {"method": "sum", "norm": "borda"}),
        (VotingFusion("rrf"), {"method": "rrf", "norm": None}),
        (VotingFusion("borda"), {"method": "bordafuse", "norm": None}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else str(value["norm"]),
)
def test_ranks_like_ranx(small, fuser, options):
    stack, runs = small
    theirs = ranx.fuse(list(runs), **options).to_dict()
    ours = fuser.fuse(stack).scores
    for row, query_id in zip(ours, stack.query_ids, strict=True):
        ids = [stack.gallery_ids[c] for c in np.flatnonzero(np.isfinite(row))]
        mine = row[np.isfinite(row)].astype(float)
        other = np.array([theirs[query_id][image_id] for image_id in ids], float)
        apart = np.abs(mine[:, None] - mine) > 1e-5 * np.abs(mine).max()
        agree = np.sign(mine[:, None] - mine) == np.sign(other[:, None] - other)
        assert agree[apart].all()
