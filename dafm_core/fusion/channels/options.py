"""Options that fusions over channels have; imports nothing heavy, so that they can be listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dafm_core.contract.options import Options, option
from dafm_core.errors import OptionError
from dafm_core.fusion.channels.families import DEFAULT_INPUTS, FAMILIES, SHARED, parse_families

LEAST_AGREEMENT: Final = 0.3
"""Noise has about 0 of what the best models have in common, real ones half or more."""


@dataclass(frozen=True, kw_only=True)
class ChannelOptions(Options):
    """Options that every fusion over channels has."""

    inputs: str = option(DEFAULT_INPUTS, f"comma-separated: {', '.join(FAMILIES)}")
    n_hard: int = option(30, "best candidates of each provider to learn from", at_least=1)
    n_uniform: int = option(64, "other candidates to learn from, at least", at_least=1)
    seed: int = option(0, "seed of every random draw", at_least=0)

    def check(self, owner: str) -> None:
        """Check every value, and that the inputs are known."""
        super().check(owner)
        parse_families(self.inputs, where=owner)

    @property
    def families(self) -> tuple[str, ...]:
        """The channel families."""
        return parse_families(self.inputs, where=self.owner)

    def n_others(self, n_gallery: int) -> int:
        """Return how many candidates to draw besides the hard ones."""
        return self.n_uniform


@dataclass(frozen=True, kw_only=True)
class LogisticOptions(ChannelOptions):
    """Options of logistic stacking."""

    owner = "LogisticFusion"

    n_hard: int = option(10, "best candidates of each provider to learn from", at_least=1)
    n_uniform: int = option(100, "other candidates to learn from, at least", at_least=1)
    regularization: float = option(1.0, "scikit-learn's C", above=0)


@dataclass(frozen=True, kw_only=True)
class DebiasedOptions(Options):
    """Weights of the label-free fusion: one per channel family, the same for every provider.

    The defaults are ``families.SHARED``. A provider counts or does not: see ``least_agreement``.
    """

    owner = "DebiasedFusion"

    rows: float = option(0.0, "weight of the standardised scores")
    restandardized: float = option(0.0, "weight of the evidence")
    ranks: float = option(SHARED["ranks"], "weight of the log ranks of the evidence")
    reverse: float = option(SHARED["reverse"], "weight of how few queries of the bank beat it")
    topics: float = option(SHARED["topics"], "weight of what the query has in common with the bank")
    neighbours: float = option(
        SHARED["neighbours"], "weight of the evidence of a candidate's neighbours in the gallery"
    )
    least_agreement: float = option(
        LEAST_AGREEMENT,
        "providers that agree less than this share of what others do are left out; 0: none is",
        at_least=0,
        at_most=1,
    )

    @property
    def weights(self) -> dict[str, float]:
        """The weights by channel family."""
        return {name: value for name, value in self.flat().items() if name in FAMILIES}

    def check(self, owner: str) -> None:
        """Check values as everywhere, and that one of the weights is not zero."""
        super().check(owner)
        if not any(self.weights.values()):
            raise OptionError(
                f"{owner}: expected a weight other than 0, got none. Give a family some weight."
            )
