"""Learned peers from elsewhere, on the same rows and folds: what else one could do with labels.

Each is the plain form of its source, in as few lines as it takes; none is offered to users.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from dafm_core.fusion.base import Fuser, Progress, Scores, TileScorer
from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.channels.fuser import ChannelFusion, Learned, ViewScorer
from dafm_core.fusion.channels.options import ChannelOptions
from dafm_core.fusion.channels.view import ChannelReader, TileView
from dafm_core.ground.groups import deal_groups
from dafm_core.ground.normalize import zscore_rows
from dafm_core.store.gallery import Gallery
from dafm_core.store.stack import SimilarityStack

DEPTHS: Final = {"gallery": (1, 5, 10, 50), "subset": (1, 2, 3)}
"""Recalls whose mean each head is chosen by."""


def estimated_ranks(scores: NDArray[np.float32], examples: Examples) -> NDArray[np.float64]:
    """Return about where the targets stand, (..., E), under scores (..., E, W) of the sample.

    Each candidate counts for as many as it stands for; ties for half.
    """
    at = examples.target.reshape((1,) * (scores.ndim - 2) + (-1, 1))
    own = np.take_along_axis(scores, np.broadcast_to(at, (*scores.shape[:-1], 1)), axis=-1)
    counts = np.exp(examples.log_weight)  # -inf where excluded, or another target
    counts[np.arange(len(examples)), examples.target] = 0
    above = (scores > own) + 0.5 * (scores == own)
    return np.asarray(1 + (above * counts).sum(axis=-1, dtype=np.float64))


def evidence_of(examples: Examples) -> Examples:
    """Return the examples with one channel a provider: the evidence."""
    return examples.known_to_all().of_families(("restandardized",))


class GreedySelection(ChannelFusion[ChannelOptions]):
    """Channels added up one by one, with replacement, each the one that lifts the recalls most.

    References
    ----------
    Caruana et al., Ensemble Selection from Libraries of Models, ICML 2004.
    """

    options_type = ChannelOptions
    learns_heads = True
    n_steps: Final = 40

    def _learn(self, examples: Examples, progress: Progress | None) -> Learned:
        examples = examples.known_to_all()
        channels = np.ascontiguousarray(examples.channels.transpose(1, 0, 2))  # (C, E, W)
        counts, total = np.zeros(len(channels)), np.zeros(channels.shape[1:], np.float32)
        best, weights = -1.0, counts.copy()
        for _ in range(self.n_steps):
            quality = [self._quality(total + one, examples) for one in channels]
            chosen = int(np.argmax(quality))
            counts[chosen] += 1
            total += channels[chosen]
            if quality[chosen] > best:
                best, weights = quality[chosen], counts.copy()
        return Learned({"weights": weights / weights.sum()})

    def _quality(self, scores: NDArray[np.float32], examples: Examples) -> float:
        ranks = estimated_ranks(scores, examples)
        return float(np.mean([(ranks <= k + 0.5).mean() for k in DEPTHS[examples.head]]))

    def _ready(self, learned: Learned, reader: ChannelReader) -> ViewScorer:
        weights = np.where(reader.available, learned.arrays["weights"], 0).astype(np.float32)
        return lambda view: weights @ view.channels()


class IsotonicSum(ChannelFusion[ChannelOptions]):
    """Each provider's evidence as the chance of being the target, never falling, and their sum.

    References
    ----------
    Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass Probability
    Estimates, KDD 2002; as in Annif's ``pav`` backend.
    """

    options_type = ChannelOptions
    learns_heads = True
    n_points: Final = 256

    def _learn(self, examples: Examples, progress: Progress | None) -> Learned:
        examples = evidence_of(examples)
        counted = np.isfinite(examples.log_weight)
        is_target = np.arange(counted.shape[1]) == examples.target[:, None]
        weight = np.exp(examples.log_weight)[counted].astype(np.float64)
        curves = []
        for channel in examples.channels.transpose(1, 0, 2):
            scores = channel[counted].astype(np.float64)
            fitted = IsotonicRegression(out_of_bounds="clip").fit(
                scores, is_target[counted], sample_weight=weight
            )
            at = np.quantile(fitted.X_thresholds_, np.linspace(0, 1, self.n_points))
            curves.append(np.stack([at, fitted.predict(at)]))
        return Learned({"curves": np.stack(curves)})

    def _ready(self, learned: Learned, reader: ChannelReader) -> ViewScorer:
        curves = learned.arrays["curves"]  # (K, 2, points)

        def score(view: TileView) -> Scores:
            evidence = view.evidence.transpose(1, 0, 2)  # (K, B, N)
            parts = (np.interp(e, *curve) for e, curve in zip(evidence, curves, strict=True))
            return np.sum(list(parts), axis=0).astype(np.float32)

        return score


class PredictedWeights(ChannelFusion[ChannelOptions]):
    """Evidence weighted, query by query, by how well each provider is predicted to do.

    What predicts is the shape of every provider's row (the context that LightFusion's networks
    see), by ridge regression on the reciprocal rank; the power of the prediction is chosen too.

    References
    ----------
    After arXiv 2601.17339; the predictors and the regression are ours.
    """

    options_type = ChannelOptions
    powers: Final = (0.5, 1.0, 2.0, 4.0)
    ridge: Final = 10.0

    def _learn(self, examples: Examples, progress: Progress | None) -> Learned:
        examples = evidence_of(examples)
        ranks = estimated_ranks(examples.channels.transpose(1, 0, 2), examples)  # (K, E)
        context = examples.context.astype(np.float64)
        mean, spread = context.mean(axis=0), context.std(axis=0) + 1e-6
        features = np.column_stack([(context - mean) / spread, np.ones(len(context))])
        penalty = self.ridge * np.diag([*np.ones(context.shape[1]), 0.0])
        slopes = np.linalg.solve(features.T @ features + penalty, features.T @ (1 / ranks.T))
        arrays = {"mean": mean, "spread": spread, "slopes": slopes}
        best = max(self.powers, key=lambda power: self._quality(arrays, power, examples))
        return Learned(arrays, {"power": best})

    def _quality(self, arrays: dict[str, NDArray[Any]], power: float, examples: Examples) -> float:
        weights = _predicted(arrays, power, examples.context)
        ranks = estimated_ranks((weights[:, None] @ examples.channels)[:, 0], examples)
        return float(np.mean([(ranks <= k + 0.5).mean() for k in DEPTHS["gallery"]]))

    def _ready(self, learned: Learned, reader: ChannelReader) -> ViewScorer:
        def score(view: TileView) -> Scores:
            weights = _predicted(learned.arrays, learned.notes["power"], view.context())
            evidence = np.where(np.isfinite(view.evidence), view.evidence, np.float32(0))
            return np.asarray((weights[:, None] @ evidence)[:, 0])

        return score


def _predicted(
    arrays: dict[str, NDArray[Any]], power: float, context: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return each provider's weight for each query, (B, K); they sum to one."""
    features = (context - arrays["mean"]) / arrays["spread"]
    found = features @ arrays["slopes"][:-1] + arrays["slopes"][-1]
    weights = np.maximum(found, 0.01) ** power
    return np.asarray((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


class CandidateWeights(Fuser):
    """A weight for each provider and candidate, and a bias for each candidate, by InfoNCE.

    They start at the multiple of the plain mean of standardised rows that fits best; gradient
    steps end when a fifth of the groups, held out, stops gaining. It knows one gallery only.

    References
    ----------
    Annif's neural ensemble (Suominen et al., JLIS.it 13.1, 2022), whose weights are per source and
    concept.
    """

    kind = "learned"
    learns = True
    n_steps: Final = 150
    patience: Final = 10
    rate: Final = 0.002
    sharpness: Final = (1.0, 1.5, 2.0, 3.0, 4.0)

    weights_: NDArray[np.float32]
    biases_: NDArray[np.float32]

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def _fit(
        self, stack: SimilarityStack, *, bank: SimilarityStack | None, progress: Progress | None
    ) -> None:
        stack = stack.labelled()
        rows = np.concatenate([zscore_rows(tile) for _, tile in stack.tiles()])  # (Q, K, N)
        shown = np.isfinite(rows[:, 0])
        rows[~np.isfinite(rows)] = 0
        targets = stack.dataset.targets
        wanted = np.zeros(shown.shape, np.float32)
        wanted[targets.rows, targets.values] = 1 / targets.counts[targets.rows]
        held_out = deal_groups(stack.dataset.groups, 5, seed=self.seed) == 0
        n_providers, n_gallery = rows.shape[1:]
        values = np.zeros((n_providers + 1, n_gallery), np.float32)  # weights, then biases

        def losses() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            logits = np.einsum("kn,qkn->qn", values[:-1], rows) + values[-1]
            logits[~shown] = -np.inf
            peak = logits.max(axis=1, keepdims=True)
            chance = np.exp(logits - peak)
            total = chance.sum(axis=1, keepdims=True)
            own = (wanted * np.where(wanted > 0, logits, 0)).sum(axis=1)
            return (peak + np.log(total))[:, 0] - own, chance / total

        fit = {}
        for sharpness in self.sharpness:
            values[:-1] = sharpness / n_providers
            fit[sharpness] = float(losses()[0][~held_out].mean())
        values[:-1] = min(fit, key=fit.__getitem__) / n_providers
        first, second = np.zeros_like(values), np.zeros_like(values)
        best, kept, since = np.inf, values.copy(), 0
        for step in range(1, self.n_steps + 1):
            each, chance = losses()
            lost = float(each[held_out].mean())
            if lost < best - 1e-4:
                best, kept, since = lost, values.copy(), 0
            elif (since := since + 1) == self.patience:
                break
            away = np.where(held_out[:, None], 0, chance - wanted) / (~held_out).sum()
            gradient = np.concatenate(
                [np.einsum("qn,qkn->kn", away, rows), away.sum(axis=0, keepdims=True)]
            )
            first += 0.1 * (gradient - first)  # Adam
            second += 0.001 * (gradient**2 - second)
            scaled = np.sqrt(second / (1 - 0.999**step)) + 1e-8
            values -= self.rate * first / (1 - 0.9**step) / scaled
        self.weights_, self.biases_ = kept[:-1], kept[-1]
        self._gallery_ids = stack.gallery_ids

    def _scorer(self, gallery: Gallery) -> TileScorer:
        columns = self._gallery_ids.positions(gallery.ids)
        weights, biases = self.weights_[:, columns], self.biases_[columns]

        def score(tile: NDArray[np.float32]) -> Scores:
            rows, excluded = zscore_rows(tile), np.isneginf(tile[:, 0])
            rows[~np.isfinite(rows)] = 0
            fused = np.einsum("kn,bkn->bn", weights, rows) + biases
            fused[excluded] = -np.inf
            return np.asarray(fused)

        return score
