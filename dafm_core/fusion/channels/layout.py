"""Which channel stands where, families outside, providers inside; and which providers count."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.families import EVIDENCE


@dataclass(frozen=True)
class Layout:
    """The order of channels: channel ``f * K + k`` is family f of provider k.

    Parameters
    ----------
    families : tuple of str
        Keys of ``families.FAMILIES``.
    providers : tuple of str
    outsiders : tuple of str
        Providers that agree with no other (``agreement.py``): what trusts all alike passes them
        over.

    Examples
    --------
    >>> layout = Layout(("rows", "ranks"), ("a", "b", "c"))
    >>> layout.n_channels
    6
    >>> layout.of_families({"ranks"}).tolist()
    [False, False, False, True, True, True]
    """

    families: tuple[str, ...]
    providers: tuple[str, ...]
    outsiders: tuple[str, ...] = ()

    @property
    def n_channels(self) -> int:
        """Number of channels, C."""
        return len(self.families) * len(self.providers)

    def of_families(self, families: Collection[str]) -> NDArray[np.bool_]:
        """Return which channels are of some families, (C,)."""
        return np.repeat([name in families for name in self.families], len(self.providers))

    def of_providers(self, providers: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which channels are of some providers, given as a mask (K,); (C,)."""
        return np.tile(providers, len(self.families))

    def counted(self, present: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of the providers that are present count, (K,): all, if all are outsiders."""
        inside = present & ~np.isin(self.providers, self.outsiders)
        return inside if inside.any() else present

    def plain_mean(self) -> NDArray[np.float64]:
        """Return the mean of the evidence as weights (C,): a fusion that has learned nothing."""
        weights = np.zeros((len(self.families), len(self.providers)))
        evidence = next((name for name in EVIDENCE if name in self.families), self.families[0])
        weights[self.families.index(evidence)] = 1 / len(self.providers)
        return weights.ravel()
