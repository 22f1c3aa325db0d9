"""Logistic stacking: is this candidate the target? One scikit-learn regression over all cells."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Scores
from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.channels.fuser import ChannelFusion, Learned, ViewScorer
from dafm_core.fusion.channels.options import LogisticOptions
from dafm_core.fusion.channels.view import ChannelReader, TileView
from dafm_core.ground.progress import Progress

TOLERANCE: Final = 1e-8
"""Largest entry of the mean loss's gradient at which the regression has converged."""
N_STEPS: Final = 100
"""Newton steps, of which a dozen suffice."""


class LogisticFusion(ChannelFusion[LogisticOptions]):
    """Weights that tell targets from other candidates, both classes counting the same.

    The classic way to stack classifiers (on scores alone: ``inputs="rows"``). It takes every
    candidate by itself, where InfoNCE compares the candidates of one query; given the same inputs,
    that is the difference to LightFusion's linear part.

    Parameters
    ----------
    **options
        See :class:`LogisticOptions`. Each uniform negative counts for as many as it stands for.

    Attributes
    ----------
    weights_ : ndarray of shape (n_channels,), float64
    """

    options_type = LogisticOptions
    complexity = 1

    @property
    def learns_heads(self) -> bool:
        """Always: what tells a target from its subset is not what tells it from the gallery."""
        return True

    @property
    def weights_(self) -> NDArray[np.float64]:
        """Log odds per unit of each channel, (C,)."""
        return self.learned_.arrays["weights"]

    def _learn(self, examples: Examples, progress: Progress | None) -> Learned:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        cells, is_target, weight = _cells(examples.known_to_all())
        if is_target.all():  # nothing to tell a target from
            return Learned({"weights": np.full(cells.shape[1], 1 / cells.shape[1])})
        # Newton steps in float64, to the last digits: where an optimiser that stops early stops
        # would depend on the order of the gallery and on the machine.
        regression = LogisticRegression(
            C=self.options.regularization, solver="newton-cholesky", tol=TOLERANCE, max_iter=N_STEPS
        )
        with warnings.catch_warnings():
            # Where constant channels leave the loss flat to the last digit no step is shorter;
            # scikit-learn goes on with L-BFGS from there and says so.
            warnings.filterwarnings("ignore", "Line search", ConvergenceWarning)
            regression.fit(cells.astype(np.float64), is_target, sample_weight=weight)
        return Learned({"weights": regression.coef_[0].astype(np.float64)})

    def _ready(self, learned: Learned, reader: ChannelReader) -> ViewScorer:
        weights = np.where(reader.available, learned.arrays["weights"], 0).astype(np.float32)

        def score(view: TileView) -> Scores:
            log_odds: Scores = weights @ view.channels()  # (B, C, N) -> (B, N)
            return log_odds

        return score


def _cells(
    examples: Examples,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Return candidates (n, C), whether each is a target, and balanced weights that sum to n."""
    is_target = np.arange(examples.log_weight.shape[1]) == examples.target[:, None]
    counted = np.isfinite(examples.log_weight)
    weight = np.exp(examples.log_weight.astype(np.float64)) * examples.weight[:, None]
    wrong = counted & ~is_target
    share = np.where(is_target, weight[is_target].sum(), max(weight[wrong].sum(), 1.0))
    cells = examples.channels.transpose(0, 2, 1)[counted]  # (E, C, W) -> (n, C)
    return cells, is_target[counted], (weight / share)[counted] * (len(cells) / 2)
