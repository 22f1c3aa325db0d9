"""LightFusion: the shell that ties inputs, examples, the linear solution and networks together."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dafm_core.errors import AlignmentError
from dafm_core.fusion.base import Fuser, Tile, TileScorer
from dafm_core.fusion.channels.bank import QueryBank, bank_from_state, bank_state
from dafm_core.fusion.channels.examples import Examples, make_examples
from dafm_core.fusion.channels.inputs import Inputs, training_bank, usable_families
from dafm_core.fusion.light.ensemble import mean_score, new_network, train_ensemble
from dafm_core.fusion.light.linear import fit_linear, plain_mean, provider_sets, smallest_holding
from dafm_core.fusion.light.options import LightOptions, Objective, Preset, resolve_options
from dafm_core.fusion.light.temperature import TemperatureRule
from dafm_core.fusion.light.training import History
from dafm_core.ground.normalize import ColumnStatistics

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.store.stack import SimilarityStack

logger = logging.getLogger(__name__)


class LightFusion(Fuser):
    """A small learned fusion of frozen models' scores, residual around a linear one.

    The default fuses every candidate by itself: one weight per channel, found exactly, plus what
    a few hidden units add to it, stopped early on queries of other groups and averaged over
    seeds. The channels are made of the K scores, of a bank of the training queries, and of the
    gallery's neighbours where a provider's features are known. The preset ``paper`` is the
    network of the paper as printed.

    Parameters
    ----------
    preset : {"default", "paper"}
        Gives every option below that is None its value.
    network : {"residual", "linear", "paper"}, optional
    inputs : str, optional
        Comma-separated families of channels, see ``inputs.FAMILIES``.
    objective : {"weighted", "gallery", "subset"}, optional
        InfoNCE over the gallery, over the query's subset, or the first plus ``subset_weight``
        times the second.
    candidates : {"sampled", "exact"}, optional
        Train on ``n_hard`` best candidates per provider and ``n_uniform`` others, or on all.
    n_hidden, n_seeds, n_epochs, batch_size : int, optional
    learning_rate, weight_decay : float, optional
        Of AdamW.
    temperature : float, optional
        Where ``temperature_rule`` ("fixed", "learned", "adaptive", "paper") starts.
    temperature_scale : float, optional
        The factor s of equation 7.
    provider_dropout : float, optional
        Share of examples that lose one provider in training.
    gallery_order : {"shuffled", "file"}, optional
        Order of the candidates in training; matters to the network ``paper`` only.
    seed : int

    Attributes
    ----------
    options_ : LightOptions
    families_ : tuple of str
        Inputs in use; ``neighbours`` is left out where no provider knows any.
    weights_ : ndarray of shape (S, n_channels), float64
        Of the linear part: with all providers, without each, and with each alone.
    provider_sets_ : ndarray of shape (S, n_providers), bool
        Which providers each row of weights is for.
    networks_ : list of nn.Module
        Empty where there was too little to learn from.
    bank_ : QueryBank or None
    history_ : list
        One list of records per network: loss, temperature, validation loss and recall.

    References
    ----------
    arXiv 2511.05020, equations 1 to 7; departures and their reasons: docs/explanation/ablation.md.
    """

    kind = "learned"
    learns = True

    options_: LightOptions
    families_: tuple[str, ...]
    weights_: NDArray[np.float64]
    provider_sets_: NDArray[np.bool_]
    networks_: list[nn.Module]
    bank_: QueryBank | None
    context_: ColumnStatistics
    history_: list[History]

    def __init__(
        self,
        *,
        preset: Preset = "default",
        network: Literal["residual", "linear", "paper"] | None = None,
        inputs: str | None = None,
        objective: Objective | None = None,
        subset_weight: float | None = None,
        candidates: Literal["sampled", "exact"] | None = None,
        n_hard: int | None = None,
        n_uniform: int | None = None,
        n_hidden: int | None = None,
        n_seeds: int | None = None,
        n_epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        temperature: float | None = None,
        temperature_rule: TemperatureRule | None = None,
        temperature_scale: float | None = None,
        provider_dropout: float | None = None,
        gallery_order: Literal["shuffled", "file"] | None = None,
        seed: int = 0,
    ) -> None:
        self.preset = preset
        self.network = network
        self.inputs = inputs
        self.objective = objective
        self.subset_weight = subset_weight
        self.candidates = candidates
        self.n_hard = n_hard
        self.n_uniform = n_uniform
        self.n_hidden = n_hidden
        self.n_seeds = n_seeds
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.temperature = temperature
        self.temperature_rule = temperature_rule
        self.temperature_scale = temperature_scale
        self.provider_dropout = provider_dropout
        self.gallery_order = gallery_order
        self.seed = seed
        self.options_ = resolve_options(preset, self.params())

    @property
    def gallery_order_matters(self) -> bool:
        """Whether the network mixes candidates that stand side by side in the gallery."""
        return self.options_.network == "paper"

    def with_bank(self, bank: SimilarityStack) -> Self:
        """Return this fusion with another query bank: what a new gallery needs.

        Parameters
        ----------
        bank : SimilarityStack
            Any queries, without labels, scored against the new gallery by the same providers;
            none that will be evaluated.

        Raises
        ------
        AlignmentError
            If the bank has a provider this fusion was not fitted on.
        """
        unknown = sorted(set(bank.names) - set(self.provider_names_))
        if unknown:
            raise AlignmentError(
                f"LightFusion.with_bank: expected providers {', '.join(self.provider_names_)}, "
                f"got {', '.join(unknown)}. Score the bank with the models it was fitted on."
            )
        self._check_passports(bank)
        other = copy.copy(self)
        other.bank_ = QueryBank.of(bank)
        other.bank_query_ids_ = frozenset(bank.query_ids)
        return other

    def scorer(self, stack: SimilarityStack) -> TileScorer:
        """Return linear plus learned scores; only linear ones where a channel is missing."""
        bank = self._bank_for(stack)
        inputs = Inputs.of(stack, self.families_, bank, names=self.provider_names_)
        weights = self._weights_for(inputs)
        complete = bank is not None or self.bank_ is None
        networks = self.networks_ if complete and self._covers(inputs.available) else []

        def score(tile: Tile) -> NDArray[np.float32]:
            view = inputs.read(tile)
            channels = view.channels()  # (B, K, N) -> (B, C, N)
            fused: NDArray[np.float32] = weights @ channels  # (B, C, N) -> (B, N)
            if networks:
                context = self._standardised(view.context())
                fused += mean_score(networks, channels, context)
            fused[~np.isfinite(tile[:, 0])] = -np.inf
            return fused

        return score

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return linear weights, networks, bank and history."""
        arrays, values = bank_state(self.bank_) if self.bank_ is not None else ({}, {})
        arrays |= {"weights": self.weights_, "provider_sets": self.provider_sets_}
        arrays |= {"context.mean": self.context_.mean, "context.std": self.context_.std}
        for i, network in enumerate(self.networks_):
            arrays |= {f"network.{i}.{n}": p.numpy() for n, p in network.state_dict().items()}
        values |= {"families": list(self.families_), "n_networks": len(self.networks_)}
        values |= {"history": self.history_, "options": asdict(self.options_)}
        return arrays, values

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Restore linear weights, networks, bank and history."""
        self.options_ = LightOptions(**values["options"])  # defaults may have changed since
        self.bank_ = bank_from_state(arrays, values) if "bank" in values else None
        self.families_ = tuple(values["families"])
        self.weights_, self.provider_sets_ = arrays["weights"], arrays["provider_sets"]
        self.context_ = ColumnStatistics(arrays["context.mean"], arrays["context.std"])
        self.history_ = values["history"]
        self.networks_ = []
        for i in range(values["n_networks"]):
            shape = len(self.provider_names_), len(self.families_)
            network, prefix = new_network(self.options_, *shape, seed=0), f"network.{i}."
            mine = {n: a for n, a in arrays.items() if n.startswith(prefix)}
            network.load_state_dict(
                {n.removeprefix(prefix): torch.from_numpy(a.copy()) for n, a in mine.items()}
            )
            self.networks_.append(network.eval())

    def _fit(self, stack: SimilarityStack, dataset: Dataset) -> None:
        options = self.options_
        self.families_ = usable_families(stack, options.families)
        self.bank_ = training_bank(stack, self.families_, self.bank_queries)
        examples = make_examples(
            stack,
            dataset,
            self.families_,
            n_hard=options.n_hard,
            n_uniform=options.n_uniform if options.candidates == "sampled" else stack.n_gallery,
            seed=self.seed,
            bank=self.bank_ if self.bank_queries else None,
        )
        self.context_ = ColumnStatistics.of_tiles([examples.context[:, None]])
        self.provider_sets_ = provider_sets(len(self.provider_names_))
        self.weights_ = np.stack([self._fit_linear(examples, s) for s in self.provider_sets_])
        self.networks_, self.history_ = train_ensemble(
            options,
            replace(examples, context=self._standardised(examples.context)),
            self.weights_[: 1 + len(self.provider_names_)],
            n_providers=len(self.provider_names_),
            seed=self.seed,
            progress=self.on_progress,
        )

    def _fit_linear(self, examples: Examples, providers: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the best weights of the channels of some providers, zeros elsewhere."""
        used = np.tile(providers, len(self.families_))
        weights = np.zeros(len(used))
        if self.options_.network == "paper":
            return weights
        gallery, subset = self.options_.loss_weights
        weights[used] = fit_linear(
            replace(examples, channels=examples.channels[:, used]),
            gallery_weight=gallery,
            subset_weight=subset,
            prior=plain_mean(self.families_, len(providers))[used],
        )
        return weights

    def _weights_for(self, inputs: Inputs) -> NDArray[np.float32]:
        """Return weights for the fewest providers that hold those present, zeros elsewhere."""
        weights = self.weights_[smallest_holding(self.provider_sets_, inputs.present)]
        return np.where(inputs.available, weights, 0).astype(np.float32)

    def _covers(self, available: NDArray[np.bool_]) -> bool:
        """Say whether the networks have learned to do without what is missing."""
        missing = (~available).sum()
        return missing == 0 or (
            self.options_.provider_dropout > 0 and missing == len(self.families_)
        )

    def _standardised(self, context: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.context_.apply(context[:, None])[:, 0]

    def _bank_for(self, stack: SimilarityStack) -> QueryBank | None:
        """Return the bank where it knows the stack's gallery."""
        if self.bank_ is None:
            return None
        if self.bank_.covers(stack):
            return self.bank_
        if self.bank_query_ids_:
            self.bank_.aligned(stack)  # says which image the bank lacks
        logger.warning(
            "LightFusion: the bank knows another gallery, so this one is fused without a bank. "
            "Score some other queries against it and use with_bank(stack), or dafm fuse --bank."
        )
        return None

    def _check_providers(self, stack: SimilarityStack) -> None:
        """Allow fewer providers than fitted on, with a warning; never others."""
        known = set(self.provider_names_)
        lacking = sorted(known - set(stack.names))
        if not set(stack.names) <= known or (lacking and self.options_.network == "paper"):
            super()._check_providers(stack)
        if lacking:
            logger.warning(
                "LightFusion: fusing without %s, which it was fitted on. "
                "Score the missing providers for the best ranking.",
                ", ".join(lacking),
            )


def light_paper(**options: Any) -> LightFusion:
    """Return LightFusion as the paper prints it, with some options changed."""
    return LightFusion(preset="paper", **options)
