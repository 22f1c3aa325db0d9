"""LightFusion: linear weights of channels, found exactly, and small networks that add to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Scores
from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.channels.families import CONTEXT_PER_PROVIDER
from dafm_core.fusion.channels.fuser import ChannelFusion, Learned, ViewScorer
from dafm_core.fusion.channels.view import ChannelReader, TileView
from dafm_core.fusion.light.doubt import Doubt, doubt_of, doubted_score
from dafm_core.fusion.light.doubt import from_arrays as doubt_from_arrays
from dafm_core.fusion.light.doubt import to_arrays as doubts_to_arrays
from dafm_core.fusion.light.linear import MANY, fit_linear, provider_sets, smallest_holding
from dafm_core.fusion.light.options import LightOptions
from dafm_core.fusion.light.prior import Belief, believe, prior_of
from dafm_core.fusion.light.scoring import mean_score, to_arrays
from dafm_core.ground.normalize import ColumnStatistics
from dafm_core.ground.progress import Progress


class LightFusion(ChannelFusion[LightOptions]):
    """A small learned fusion of frozen models' scores, residual around a linear one.

    Every candidate is fused by itself: one weight per channel, found exactly, plus what a few
    hidden units add to it, stopped early on queries of other groups and averaged over seeds. The
    channels are made of the K scores, of a bank of the training queries, and of the gallery's
    neighbours where a provider's features are known. The network that the paper prints is
    :class:`dafm_core.fusion.paper.PaperFusion`.

    Parameters
    ----------
    **options
        See :class:`LightOptions`; those of training, by their own names.

    Attributes
    ----------
    weights_ : ndarray of shape (S, n_channels), float64
        Of the linear part: with all providers, without each, and with each alone.
    history_ : list
        One list of records per network: loss, temperature, validation loss and recall.

    References
    ----------
    arXiv 2511.05020, equations 1 to 7; departures and their reasons: docs/explanation/ablation.md.
    """

    options_type = LightOptions
    complexity = 3

    @property
    def weights_(self) -> NDArray[np.float64]:
        """Weights of the linear part for each set of providers, (S, C)."""
        return self.learned_.arrays["weights"]

    @property
    def learns_heads(self) -> bool:
        """Whether the objective asks for a score for each ranking."""
        return self.options.objective == "separate"

    @property
    def n_networks_(self) -> int:
        """Number of networks; 0 where there was too little to learn from."""
        return len(self.history_)

    @property
    def history_(self) -> list[list[dict[str, float]]]:
        """What was recorded while fitting, by network."""
        history: list[list[dict[str, float]]] = self.learned_.notes["history"]
        return history

    def _learn(self, examples: Examples, progress: Progress | None) -> Learned:
        linear = self._learn_spare(examples)
        partly_known = examples.known is not None
        if self.options.network == "linear":
            return linear
        examples = examples.known_to_all()
        from dafm_core.fusion.light.ensemble import train_ensemble

        context = ColumnStatistics.of_tiles([examples.context[:, None]])
        networks, history = train_ensemble(
            self.options,
            replace(examples, context=_standardised(context, examples.context)),
            linear.arrays["weights"][: 1 + len(examples.layout.providers)],
            progress=progress,
        )
        arrays: dict[str, NDArray[Any]] = {
            "context.mean": context.mean,
            "context.std": context.std,
        }
        notes = linear.notes | {"history": history, "partly_known": partly_known}
        return Learned(linear.arrays | arrays | to_arrays(networks), notes)

    def _learn_spare(self, examples: Examples) -> Learned:
        """Return the linear part alone."""
        sets = provider_sets(len(examples.layout.providers))
        belief = self._believe(examples.known_to_all())
        weights, doubts = zip(*(self._fit_linear(examples, p, belief) for p in sets), strict=True)
        notes = {"history": [], "prior": belief.strength, "moved": belief.moved}
        arrays = {"weights": np.stack(weights), "provider_sets": sets}
        return Learned(arrays | doubts_to_arrays(doubts), notes)

    def _believe(self, examples: Examples) -> Belief:
        """Return how firmly to hold what labels start from: as told, or as the labels say."""
        if self.options.prior:
            return Belief(moved=1.0, strength=self.options.prior)
        return believe(examples, self.options.loss_weights, seed=self.options.seed)

    def _fit_linear(
        self, examples: Examples, providers: NDArray[np.bool_], belief: Belief
    ) -> tuple[NDArray[np.float64], Doubt]:
        """Return the best weights of the channels of some providers, zeros elsewhere, and how far
        they are in doubt.

        They are those of the candidates that all these providers know.
        """
        examples = examples.known_to(providers)
        used = examples.layout.of_providers(providers)
        names = np.array(examples.layout.providers)[providers].tolist()
        some, loss_weights = None if used.all() else used, self.options.loss_weights
        layout = replace(examples.layout, providers=tuple(names))
        if some is not None and len(examples) < MANY:  # picked once, not at every step
            examples = replace(examples, layout=layout, channels=examples.channels[:, used])
            some = None
        prior = prior_of(examples, loss_weights, layout, used=some)
        fit = fit_linear(examples, loss_weights, prior=prior, strength=belief.strength, used=some)
        weights = np.zeros(len(used))
        weights[used] = believed = belief.between(prior, fit.weights)
        if examples.head == "subset" or loss_weights.subset:
            return weights, Doubt.none(len(used))  # among look-alikes it costs more than it gives
        doubt = doubt_of(examples, fit, believed, moved=belief.moved, used=some)
        return weights, doubt.within(used)

    def _ready(self, learned: Learned, reader: ChannelReader) -> ViewScorer:
        """Return linear plus learned scores; only linear ones where a channel is missing.

        Networks add to plain scores, and need many labels; alone, linear scores are drawn to the
        middle by how far they are in doubt.
        """
        arrays, weights = learned.arrays, _weights(learned, reader)
        has_networks = "network.score" in arrays and self._networks_know(learned, reader)
        if not has_networks:
            doubt = doubt_from_arrays(arrays, _row(learned, reader))
            doubt = doubt.knowing(reader.available)
            return lambda view: doubted_score(doubt, weights, view.channels())
        of_present = np.tile(reader.present_mask, CONTEXT_PER_PROVIDER)

        def score(view: TileView) -> Scores:
            channels = view.channels()
            fused: Scores = weights @ channels  # (B, C, N) -> (B, N)
            statistics = ColumnStatistics(arrays["context.mean"], arrays["context.std"])
            context = _standardised(statistics, view.context())
            # In training a lost provider's context is 0 once it is standardised, not before.
            return fused + mean_score(
                arrays, channels, np.where(of_present, context, np.float32(0))
            )

        return score

    def _cheap_scorer(self, reader: ChannelReader) -> ViewScorer | None:
        """Return the linear scores, where networks add to them."""
        if reader.layout.families != self.families_ or not self.n_networks_:
            return None
        weights = _weights(self.learned_, reader)
        return lambda view: weights @ view.channels()

    def _networks_know(self, learned: Learned, reader: ChannelReader) -> bool:
        """Say whether the networks have learned to do without what is missing: one provider."""
        if self.bank_ is not None and reader.bank is None:
            return False
        missing = int((~reader.available).sum())
        if missing and learned.notes.get("partly_known"):
            return False  # they have seen only candidates that all providers know
        return missing == 0 or (
            self.options.provider_dropout > 0 and missing == len(reader.layout.families)
        )


def _weights(learned: Learned, reader: ChannelReader) -> NDArray[np.float32]:
    """Return the linear weights of what is there, (C,)."""
    weights = learned.arrays["weights"][_row(learned, reader)]
    return np.where(reader.available, weights, 0).astype(np.float32)


def _row(learned: Learned, reader: ChannelReader) -> int:
    """Return which of the sets of providers is used."""
    return smallest_holding(learned.arrays["provider_sets"], reader.present_mask)


def _standardised(
    statistics: ColumnStatistics, context: NDArray[np.float32]
) -> NDArray[np.float32]:
    return statistics.apply(context[:, None])[:, 0]
