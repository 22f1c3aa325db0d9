"""Every configuration that the ablation measures, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from stackers import CandidateWeights, GreedySelection, IsotonicSum, PredictedWeights

from dafm_core.catalog import resolve
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.debiased import DebiasedFusion
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.fusion.logistic import LogisticFusion
from dafm_core.fusion.paper import PaperFusion
from dafm_core.fusion.static import BestSingle, MeanFusion, VotingFusion, WeightedFusion
from dafm_core.fusion.static.margin import MarginFusion
from dafm_core.store.stack import SimilarityStack

FAMILIES: Final = ("rows", "restandardized", "ranks", "reverse", "topics", "neighbours")
ALL: Final = ",".join(FAMILIES)
LINEAR: Final = {"network": "linear"}

Change = Callable[[SimilarityStack], SimilarityStack]


def unchanged(stack: SimilarityStack) -> SimilarityStack:
    """Return the stack."""
    return stack


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One line of the page.

    Parameters
    ----------
    section, name : str
    make : callable
        Makes the fuser of ``options``.
    train, test : callable
        What happens to the stack before training, and before the held-out queries are ranked.
    repeats : int
        Cross-fittings on other folds, each with another seed of the fusion; averaged per query.
    foreign_bank : bool
        Whether the bank is one of unlabelled queries given apart.
    """

    section: str
    name: str
    make: Callable[..., Fuser] = LightFusion
    options: dict[str, Any] = field(default_factory=dict)
    train: Change = unchanged
    test: Change = unchanged
    repeats: int = 1
    foreign_bank: bool = False

    @property
    def key(self) -> str:
        """What the result is stored under."""
        words = f"{self.section} {self.name}".lower()
        return "".join(c if c.isalnum() else "-" for c in words)

    @property
    def fit_key(self) -> str:
        """What settings have in common that differ only in how held-out queries are ranked."""
        return f"{self.make} {self.options} {self.train} {self.foreign_bank}"

    def fuser(self, seed: int) -> Fuser:
        """Return the unfitted fuser, with this seed where it has one and the options name none."""
        fuser = self.make(**self.options)
        if "seed" in fuser.params() and "seed" not in self.options:
            fuser = self.make(**self.options, seed=seed)
        return fuser


def settings(providers: tuple[str, ...]) -> Iterator[Setting]:
    """Yield every configuration; the first of a section is what the others are compared with."""
    for section in (
        peers(),
        inputs(),
        banks(),
        lost_providers(providers),
        networks(),
        objectives(),
        candidates(),
        temperatures(),
        paper(),
    ):
        yield from section


def peers() -> Iterator[Setting]:
    """LightFusion, static rules tuned on the same queries, and learned peers on the same inputs."""
    members: dict[str, tuple[Callable[..., Fuser], dict[str, Any]]] = {
        "light (default)": (LightFusion, {}),
        "linear InfoNCE, same inputs": (LightFusion, LINEAR),
        "LambdaMART, same inputs": (lambdamart, {}),
        "logistic, same inputs": (LogisticFusion, {}),
        "greedy selection, same inputs": (GreedySelection, {}),
        "evidence, weights by predicted performance": (PredictedWeights, {}),
        "evidence, isotonic and summed": (IsotonicSum, {}),
        "rows, a weight a provider and candidate": (CandidateWeights, {}),
        "logistic, row scores only": (LogisticFusion, {"inputs": "rows"}),
        "debiased (no labels)": (DebiasedFusion, {}),
        "best single": (BestSingle, {}),
        "mean, tuned": (MeanFusion, {}),
        "weights on the simplex": (WeightedFusion, {}),
        "reciprocal rank, tuned": (VotingFusion, {"rule": "rrf"}),
        "confidence margin, tuned": (MarginFusion, {}),
    }
    for name, (make, options) in members.items():
        yield Setting(section="Peers", name=name, make=make, options=options, repeats=3)


def lambdamart(**options: Any) -> Fuser:
    """Return the plugin's fuser, where it is installed."""
    fuser: Fuser = resolve("dafm_plugin_lambdamart.fuser:LambdaMartFusion", where="lambdamart")(
        **options
    )
    return fuser


def inputs() -> Iterator[Setting]:
    """Every switch, in the linear fusion, where nothing is drawn by chance."""

    def one(name: str, families: str | None = None) -> Setting:
        options = LINEAR if families is None else LINEAR | {"inputs": families}
        return Setting(section="Inputs (linear)", name=name, options=options, repeats=3)

    yield one("all")
    for lost in FAMILIES:
        yield one(f"without {lost}", ",".join(name for name in FAMILIES if name != lost))
    yield one("rows only", "rows")
    for more in ("minmax", "columns", "neighbour-rows"):
        yield one(f"with {more}", f"{ALL},{more}")


def banks() -> Iterator[Setting]:
    """Whose queries the bank is made of, and what topics are worth with either."""
    without = {"inputs": ",".join(name for name in FAMILIES if name != "topics")}
    for foreign, whose in ((False, "training queries"), (True, "foreign queries")):
        for label, options in (("", {}), (", linear", LINEAR), (", linear, no topics", without)):
            chosen = {} if not label else LINEAR | options
            name = f"bank of {whose}{label}"
            yield Setting(
                section="Bank", name=name, options=chosen, foreign_bank=foreign, repeats=3
            )


def lost_providers(providers: tuple[str, ...]) -> Iterator[Setting]:
    """What one provider is worth, and what its loss after training costs."""
    yield Setting(section="Providers", name="all")
    noisy = with_noise
    yield Setting(section="Providers", name="and one of pure noise", train=noisy, test=noisy)
    for lost in providers:
        rest = without(lost)
        yield Setting(section="Providers", name=f"without {lost}", train=rest, test=rest)
        yield Setting(section="Providers", name=f"{lost} lost after training", test=rest)


def without(name: str) -> Change:
    """Return what takes one provider away."""
    return lambda stack: stack.select([n for n in stack.names if n != name])


def with_noise(stack: SimilarityStack) -> SimilarityStack:
    """Return the stack with one more provider, whose scores are drawn from a normal."""
    shape = (stack.n_queries, stack.n_gallery)
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return SimilarityStack.from_matrices(
        dict(zip(stack.names, stack.matrices, strict=True)) | {"noise": noise},
        stack.dataset,
        neighbours=stack.gallery.neighbours,
    )


def networks() -> Iterator[Setting]:
    """What is added to the linear fusion."""
    members: dict[str, dict[str, Any]] = {
        "five networks of 32 (default)": {},
        "one network": {"n_seeds": 1},
        "ten networks": {"n_seeds": 10},
        "none (linear)": LINEAR,
        "16 hidden units": {"n_hidden": 16},
        "64 hidden units": {"n_hidden": 64},
        "twice the learning rate": {"learning_rate": 6e-3},
        "ten times the weight decay": {"weight_decay": 0.1},
        "no provider dropout": {"provider_dropout": 0.0},
        "provider dropout 0.3": {"provider_dropout": 0.3},
    }
    for name, options in members.items():
        yield Setting(section="Network", name=name, options=options)


def objectives() -> Iterator[Setting]:
    """The frontier of one score between ranking the gallery and ranking the query's subset."""
    section, one_score = "Objective (linear)", LINEAR | {"objective": "weighted"}
    yield Setting(section=section, name="gallery + 0.3 subset (default)", options=one_score)
    yield Setting(section=section, name="gallery", options=LINEAR | {"objective": "gallery"})
    for weight in (0.1, 1.0, 3.0):
        options = one_score | {"subset_weight": weight}
        yield Setting(section=section, name=f"gallery + {weight:g} subset", options=options)
    yield Setting(section=section, name="subset", options=LINEAR | {"objective": "subset"})


def candidates() -> Iterator[Setting]:
    """A sample of the candidates against all of them."""
    section, small = "Candidates (linear)", {"n_hard": 10, "n_uniform": 20}
    yield Setting(section=section, name="sampled (default)", options=LINEAR)
    yield Setting(section=section, name="exact", options=LINEAR | {"candidates": "exact"})
    yield Setting(section=section, name="sampled, a third of them", options=LINEAR | small)


def temperatures() -> Iterator[Setting]:
    """Every rule for the temperature while the networks are trained."""
    yield Setting(section="Temperature", name="fixed (default)")
    for rule in ("learned", "adaptive", "paper"):
        yield Setting(section="Temperature", name=rule, options={"temperature_rule": rule})


def paper() -> Iterator[Setting]:
    """The network as printed, with the paper's number of steps, in both orders of the gallery."""
    for order in ("file", "shuffled"):
        for used, test in (("file", unchanged), ("shuffled", shuffled)):
            yield Setting(
                section="Preset paper",
                name=f"trained in {order} order, used in {used} order",
                make=PaperFusion,
                options={"gallery_order": order},
                test=test,
            )


def shuffled(stack: SimilarityStack) -> SimilarityStack:
    """Return the stack with its gallery in another order."""
    order = np.random.default_rng(0).permutation(stack.n_gallery)
    return stack.take_gallery([stack.gallery_ids[j] for j in order])
