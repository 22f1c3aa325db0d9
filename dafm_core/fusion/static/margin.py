"""A cheap rule that trusts, query by query, the model that is surest of its first candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dafm_core.errors import OptionError
from dafm_core.fusion.base import Scores
from dafm_core.fusion.static.tuning import TunedRule, Views

if TYPE_CHECKING:
    from dafm_core.store.gallery import Gallery

SHARPNESS: Final = (1.0, 0.25, 0.5, 2.0, 4.0, 8.0)
"""What ``fit`` chooses from, the default first. Not 0: that is another rule, the plain mean."""


class MarginFusion(TunedRule[float]):
    """Mean of z-scores, weighted per query by each provider's confidence margin.

    The margin is the gap, in standard deviations of the row, between a provider's best candidate
    and its second best; weights are the softmax over providers of ``sharpness`` times the margin.

    Parameters
    ----------
    sharpness : float, optional
        Above 0; chosen on the training queries where left out, 1 before that.
    objective : str, optional
        Metric to choose by; the mean of the protocol's metrics by default.

    References
    ----------
    The idea is that of query performance prediction, e.g. Shtok et al., Predicting Query
    Performance by Query-Drift Estimation, TOIS 2012; the form is ours, the cheapest that works.
    """

    def __init__(self, *, sharpness: float | None = None, objective: str | None = None) -> None:
        if sharpness is not None and not 0 < sharpness < np.inf:
            raise OptionError(
                f"MarginFusion: expected sharpness > 0, got {sharpness}. For 0 use MeanFusion."
            )
        self.sharpness = sharpness
        self.objective = objective

    def settings(self, gallery: Gallery) -> tuple[float, ...]:
        """Return the values of sharpness to choose from."""
        return SHARPNESS if self.sharpness is None else (self.sharpness,)

    def score(self, views: Views, setting: float) -> Scores:
        """Return the weighted mean of z-scores."""
        scaled = views["zscore"]
        logits = setting * views.margins
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)  # (B, K)
        evidence = np.where(views.excluded[:, None], np.float32(0), scaled)
        fused = weights.astype(np.float32)[:, None] @ evidence  # (B, 1, K) @ (B, K, N)
        return views.without_excluded(fused[:, 0])
