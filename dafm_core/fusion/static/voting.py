"""Rules that see only ranks: Borda count, reciprocal rank and majority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from dafm_core.errors import OptionError, closest
from dafm_core.fusion.base import Scores
from dafm_core.fusion.static.tuning import TunedRule, Views

if TYPE_CHECKING:
    from dafm_core.store.gallery import Gallery

Rule: TypeAlias = Literal["borda", "rrf", "majority"]

CONSTANTS: Final[dict[Rule, tuple[float, ...]]] = {
    "borda": (0.0,),
    "rrf": (60.0, 0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    "majority": (10.0, 1.0, 3.0, 5.0, 20.0, 50.0, 100.0),
}
"""What ``fit`` chooses from, the default first: the constant of reciprocal rank, the depth of a
ballot; Borda has none."""


class VotingFusion(TunedRule[float]):
    """Every provider votes with the ranks it gives.

    Parameters
    ----------
    rule : {"borda", "rrf", "majority"}
        ``borda``: the mean over providers of the share of candidates beaten. ``rrf``: the sum of
        1 / (constant + rank). ``majority``: the number of providers with the candidate among
        their first ``constant``, ties between candidates decided by Borda.
    constant : float, optional
        Chosen on the training queries where left out; before that 60 for ``rrf`` and 10 for
        ``majority``. Borda has none.
    objective : str, optional
        Metric to choose by; the mean of the protocol's metrics by default.

    Raises
    ------
    OptionError
        For an unknown rule, or a constant that the rule cannot have.

    References
    ----------
    Cormack et al., Reciprocal Rank Fusion Outperforms Condorcet, SIGIR 2009. Aslam and Montague,
    Models for Metasearch, SIGIR 2001. Tied candidates share their mean rank.
    """

    def __init__(
        self, rule: Rule = "rrf", *, constant: float | None = None, objective: str | None = None
    ) -> None:
        if rule not in CONSTANTS:
            raise OptionError(f"VotingFusion: unknown rule {rule!r}{closest(rule, CONSTANTS)}")
        if constant is not None and (rule == "borda" or not 0 <= constant < np.inf):
            raise OptionError(
                f"VotingFusion: expected no constant for borda, else one >= 0, got {constant}."
            )
        self.rule: Rule = rule
        self.constant = constant
        self.objective = objective

    def settings(self, gallery: Gallery) -> tuple[float, ...]:
        """Return the constants to choose from."""
        return CONSTANTS[self.rule] if self.constant is None else (self.constant,)

    def score(self, views: Views, setting: float) -> Scores:
        """Return the votes of all providers."""
        if self.rule == "rrf":
            ballots = 1.0 / (np.float32(setting) + views.ranks)
            return views.without_excluded(ballots.sum(axis=1))  # (B, K, N) -> (B, N)
        borda = views.mean("rank")  # in [0, 1]
        if self.rule == "borda":
            return borda
        votes = np.count_nonzero(views.ranks <= setting, axis=1)
        majority: Scores = (votes + borda / 2).astype(np.float32)  # Borda is less than one vote
        return majority


def borda() -> VotingFusion:
    """Return the Borda count."""
    return VotingFusion("borda")


def rrf(*, constant: float | None = None, objective: str | None = None) -> VotingFusion:
    """Return reciprocal rank fusion."""
    return VotingFusion("rrf", constant=constant, objective=objective)


def majority(*, constant: float | None = None, objective: str | None = None) -> VotingFusion:
    """Return the majority of ballots."""
    return VotingFusion("majority", constant=constant, objective=objective)
