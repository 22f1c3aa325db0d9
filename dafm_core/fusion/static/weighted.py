"""One weight per provider, learned on the simplex; NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Fuser, Scores, Tile, TileScorer
from dafm_core.fusion.static.average import check_normalization
from dafm_core.fusion.static.tuning import Views, tuning_metrics
from dafm_core.ground.normalize import Normalization
from dafm_core.ground.progress import Progress
from dafm_core.ground.ragged import Ragged
from dafm_core.metrics.truth import require_truth

if TYPE_CHECKING:
    from dafm_core.store.gallery import Gallery
    from dafm_core.store.stack import SimilarityStack

Weights = NDArray[np.float64]

CACHE_BYTES: Final = 512 << 20
"""Normalised scores kept in memory while learning; beyond it every n-th query is used."""
N_STEPS: Final = 30
TOLERANCE: Final = 1e-6
"""Decrease of the loss, in nats, that is not worth another step."""
TUNED: Final[tuple[Normalization, ...]] = ("zscore", "minmax")
"""Normalisations to choose from; under ranks the likelihood says little."""


class WeightedFusion(Fuser):
    """Weighted mean of row-normalised scores, its weights on the simplex.

    Weights minimise the InfoNCE loss of the training queries over all candidates, the inverse
    temperature being free: a convex problem in as many numbers as there are providers, solved by
    projected Newton steps. The normalisation under which they rank best is kept.

    Parameters
    ----------
    normalize : {"zscore", "minmax", "rank", "none"}, optional
        Chosen on the training queries among the first two where left out.
    objective : str, optional
        Metric to choose the normalisation by; the mean of the protocol's metrics by default.

    Attributes
    ----------
    weights_ : ndarray of shape (n_providers,), float64
        Not negative, sums to 1, in the order of ``record_.providers``.
    normalize_ : str
    """

    learns = True
    weights_: Weights
    normalize_: Normalization

    def __init__(
        self, *, normalize: Normalization | None = None, objective: str | None = None
    ) -> None:
        self.normalize = None if normalize is None else check_normalization(normalize)
        self.objective = objective

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return weights and normalisation."""
        return {"weights": self.weights_}, {"normalize": self.normalize_}

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Restore weights and normalisation."""
        self.weights_ = arrays["weights"]
        self.normalize_ = check_normalization(values["normalize"])

    def row_weights(self, gallery: Gallery) -> Weights | None:
        """Return the weights, where they are those of z-scores."""
        return self.weights_ if self.normalize_ == "zscore" else None

    def _scorer(self, gallery: Gallery) -> TileScorer:
        return lambda tile: _weighted(Views(tile), self.normalize_, self.weights_)

    def _fit(
        self, stack: SimilarityStack, *, bank: SimilarityStack | None, progress: Progress | None
    ) -> None:
        labelled = stack.labelled()
        metrics = tuning_metrics(stack.dataset, self.objective)
        require_truth(labelled.dataset, labelled.truth, metrics)
        learned = {
            name: learn_weights(labelled, labelled.truth.targets, name)
            for name in ((self.normalize,) if self.normalize else TUNED)
        }
        quality = dict.fromkeys(learned, 0.0)
        for rows, tile in labelled.tiles():
            views, truth = Views(tile), labelled.truth.part(rows)
            for name, weights in learned.items():
                quality[name] += truth.measure(_weighted(views, name, weights), metrics).sum()
        self.normalize_ = max(quality, key=quality.__getitem__)
        self.weights_ = learned[self.normalize_]


def learn_weights(stack: SimilarityStack, targets: Ragged, normalize: Normalization) -> Weights:
    """Return the weights on the simplex that maximise the likelihood of the targets.

    Parameters
    ----------
    targets : Ragged of n_queries rows
        Columns of each query's targets; at least one each.
    """
    blocks = list(_evidence(stack, targets, normalize))
    scale = np.ones(stack.n_providers)
    loss, gradient, hessian = _likelihood(blocks, scale)
    for _ in range(N_STEPS):
        free = (scale > 0) | (gradient < 0)
        step = np.zeros_like(scale)
        ridge = 1e-9 * np.eye(int(free.sum())) * max(1.0, float(np.trace(hessian)))
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)] + ridge, gradient[free])
        if gradient @ step < TOLERANCE:
            break
        for shrink in 0.5 ** np.arange(8):
            proposal = np.maximum(scale - shrink * step, 0)
            proposed = _likelihood(blocks, proposal)
            if proposed[0] < loss:
                break
        else:
            break  # no step lowers the loss
        scale, (loss, gradient, hessian) = proposal, proposed
    total = scale.sum()
    return scale / total if total > 0 else np.full(len(scale), 1 / len(scale))


def _weighted(views: Views, normalize: Normalization, weights: Weights) -> Scores:
    evidence = np.where(views.excluded[:, None], np.float32(0), views[normalize])
    return views.without_excluded(weights.astype(np.float32) @ evidence)  # (B, K, N) -> (B, N)


def _evidence(
    stack: SimilarityStack, targets: Ragged, normalize: Normalization
) -> Iterator[tuple[Tile, NDArray[np.bool_], NDArray[np.float64]]]:
    """Yield (normalised scores with 0 where excluded, excluded, mean over targets) by blocks."""
    size = 4 * stack.n_providers * stack.n_gallery
    every = -(-stack.n_queries * size // CACHE_BYTES)
    used = np.arange(0, stack.n_queries, every)
    part = stack.take_queries([stack.query_ids[i] for i in used])
    wanted = targets.take(used)
    for rows, tile in part.tiles():
        views, own = Views(tile), wanted.take(np.arange(rows.start, rows.stop))
        scores = np.where(views.excluded[:, None], np.float32(0), views[normalize])
        shares = 1.0 / own.counts[own.rows]
        at_target = np.zeros((len(tile), stack.n_providers))
        np.add.at(at_target, own.rows, scores[own.rows, :, own.values] * shares[:, None])
        yield scores, views.excluded, at_target


def _likelihood(
    blocks: list[tuple[Tile, NDArray[np.bool_], NDArray[np.float64]]], scale: Weights
) -> tuple[float, Weights, Weights]:
    """Return mean InfoNCE, its gradient and its Hessian with respect to ``scale`` (K,)."""
    loss, n_queries = 0.0, 0
    gradient, hessian = np.zeros(len(scale)), np.zeros((len(scale), len(scale)))
    for scores, excluded, at_target in blocks:
        logits = scale.astype(np.float32) @ scores  # (B, K, N) -> (B, N)
        logits[excluded] = -np.inf
        peak = logits.max(axis=1, keepdims=True)
        chance = np.exp(logits - peak)
        norm = chance.sum(axis=1, keepdims=True, dtype=np.float64)
        chance /= norm.astype(np.float32)
        mean = (scores @ chance[:, :, None])[:, :, 0].astype(np.float64)  # (B, K)
        spread = (scores * chance[:, None]) @ scores.transpose(0, 2, 1)  # (B, K, K)
        loss += float((np.log(norm) + peak).sum() - (at_target @ scale).sum())
        gradient += (mean - at_target).sum(axis=0)
        hessian += spread.sum(axis=0, dtype=np.float64) - mean.T @ mean
        n_queries += len(scores)
    return loss / n_queries, gradient / n_queries, hessian / n_queries
