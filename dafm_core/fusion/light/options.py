"""Options of LightFusion and of the paper's network; imports nothing heavy.

What each choice does to the result is measured in docs/explanation/ablation.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

from dafm_core.contract.options import Options, option
from dafm_core.errors import OptionError
from dafm_core.fusion.channels.options import ChannelOptions

TemperatureRule: TypeAlias = Literal["paper", "adaptive", "learned", "fixed"]


class LossWeights(NamedTuple):
    """Weights of InfoNCE over all candidates, and over each query's subset."""

    gallery: float
    subset: float


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """How a network is trained."""

    n_epochs: int = option(30, "passes over the examples, at most", at_least=0)
    batch_size: int = option(64, "examples per step", at_least=1)
    learning_rate: float = option(3e-3, "of AdamW", above=0, at_most=100)
    weight_decay: float = option(1e-2, "of AdamW", at_least=0, at_most=100)
    temperature: float = option(
        1.0, "where the temperature of the loss starts", above=0, at_most=1e6
    )
    temperature_rule: TemperatureRule = option("fixed", "how the temperature reacts to the loss")
    temperature_scale: float = option(
        100.0, "the factor s of equation 7, in nats", above=0, at_most=1e6
    )
    patience: int = option(4, "epochs without a better validation loss before it ends", at_least=1)


@dataclass(frozen=True, kw_only=True)
class LightOptions(ChannelOptions):
    """Options of LightFusion."""

    owner = "LightFusion"

    network: Literal["residual", "linear"] = option(
        "residual", "what is learned beyond linear weights"
    )
    objective: Literal["separate", "weighted", "gallery", "subset"] = option(
        "separate",
        "a score each for the gallery and the query's subset, one for both (weighted), or one "
        "for the gallery or the subset alone",
    )
    subset_weight: float = option(
        0.3, "of the subset's loss in one score for both (weighted)", at_least=0
    )
    prior: float = option(
        0.0,
        "examples that the label-free weights count for; 0: as many as the labels say",
        at_least=0,
        at_most=1e9,
    )
    candidates: Literal["sampled", "exact"] = option(
        "sampled", "train on a sample of the candidates or on all"
    )
    n_hidden: int = option(32, "hidden units of a network", at_least=1, at_most=4096)
    n_seeds: int = option(5, "networks whose scores are averaged", at_least=1, at_most=1000)
    provider_dropout: float = option(
        0.1, "share of examples that lose one provider in training", at_least=0, at_most=1
    )
    training: TrainingOptions = TrainingOptions()

    def check(self, owner: str) -> None:
        """Check values as everywhere, and that the weight of a part of the loss has that loss."""
        super().check(owner)
        if self.objective != "weighted" and self.subset_weight != type(self).subset_weight:
            raise OptionError(
                f"{owner}: subset_weight={self.subset_weight:g} counts in one score for both "
                f"rankings, got objective={self.objective}. Add objective=weighted."
            )

    @property
    def loss_weights(self) -> LossWeights:
        """What counts how much in the loss."""
        return {
            "separate": LossWeights(1.0, 0.0),  # the subset's head has no other candidates
            "gallery": LossWeights(1.0, 0.0),
            "subset": LossWeights(0.0, 1.0),
            "weighted": LossWeights(1.0, self.subset_weight),
        }[self.objective]

    def n_others(self, n_gallery: int) -> int:
        """Return how many candidates to draw besides the hard ones."""
        return self.n_uniform if self.candidates == "sampled" else n_gallery


@dataclass(frozen=True, kw_only=True)
class PaperOptions(Options):
    """Options of the network that the paper prints, with the paper's values (section 4.2)."""

    owner = "PaperFusion"

    n_hidden: int = option(16, "channels of the up-projection", at_least=1, at_most=4096)
    gallery_order: Literal["shuffled", "file"] = option(
        "shuffled", "order of the candidates in training"
    )
    training: TrainingOptions = TrainingOptions(
        n_epochs=4,
        batch_size=512,
        learning_rate=2e-3,
        temperature=0.02,
        temperature_rule="paper",
    )
    n_steps: int = option(
        224,
        "steps of training: 4 epochs of the paper's 28,225 triplets; 0: n_epochs decides",
        at_least=0,
    )
    seed: int = option(0, "seed of every random draw", at_least=0)

    def training_on(self, n_examples: int) -> TrainingOptions:
        """Return how to train on so many examples: in as many epochs as the steps take."""
        if not self.n_steps:
            return self.training
        n_batches = math.ceil(max(1, n_examples) / self.training.batch_size)
        return replace(self.training, n_epochs=math.ceil(self.n_steps / n_batches))
