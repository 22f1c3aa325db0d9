"""The best single model, and the mean or maximum over models of normalised scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import OptionError, closest
from dafm_core.fusion.base import Scores, Tile
from dafm_core.fusion.static.tuning import TunedRule, Views
from dafm_core.ground.normalize import NORMALIZATIONS, Normalization

if TYPE_CHECKING:
    from dafm_core.store.gallery import Gallery

TUNED_NORMALIZATIONS: tuple[Normalization, ...] = ("zscore", "minmax", "rank")
"""Those under which the scale of a model's scores changes nothing, the default first."""


class BestSingle(TunedRule[int]):
    """The one provider that ranks the training queries best: what any fusion has to beat.

    Parameters
    ----------
    objective : str, optional
        Metric to choose by; the mean of the protocol's metrics by default.
    """

    kind = "single"
    has_default = False

    def __init__(self, *, objective: str | None = None) -> None:
        self.objective = objective

    @property
    def provider_(self) -> str:
        """Name of the provider kept."""
        return self.record_.providers[self.setting_]

    def unranked(self, tile: Tile, gallery: Gallery) -> NDArray[np.bool_]:
        """Return what the kept provider's list leaves out; a verifier's row the others complete."""
        kept = self.provider_
        if gallery.unknown.get(kept) == "below":
            left_out: NDArray[np.bool_] = np.isnan(tile[:, gallery.names.index(kept)])
            return left_out
        return super().unranked(tile, gallery)

    def settings(self, gallery: Gallery) -> tuple[int, ...]:
        """Return the providers by position."""
        return tuple(range(gallery.n_providers))

    def score(self, views: Views, setting: int) -> Scores:
        """Return one provider's scores."""
        return views.raw[:, setting]


class MeanFusion(TunedRule[Normalization]):
    """Mean over providers of row-normalised scores (CombSUM).

    Parameters
    ----------
    normalize : {"zscore", "minmax", "rank", "none"}, optional
        Chosen on the training queries among the first three where left out; z-scores before that.
    objective : str, optional
        Metric to choose by; the mean of the protocol's metrics by default.

    References
    ----------
    Fox and Shaw, Combination of Multiple Searches, TREC-2, 1994.
    """

    def __init__(
        self, *, normalize: Normalization | None = None, objective: str | None = None
    ) -> None:
        self.normalize = None if normalize is None else check_normalization(normalize)
        self.objective = objective

    def settings(self, gallery: Gallery) -> tuple[Normalization, ...]:
        """Return the normalisations to choose from."""
        return (self.normalize,) if self.normalize else TUNED_NORMALIZATIONS

    def row_weights(self, gallery: Gallery) -> NDArray[np.float64] | None:
        """Return equal weights, where z-scores are averaged."""
        setting = self.setting_ if hasattr(self, "setting_") else self.settings(gallery)[0]
        n = gallery.n_providers
        return np.full(n, 1 / n) if setting == "zscore" else None

    def score(self, views: Views, setting: Normalization) -> Scores:
        """Return the mean over providers."""
        return views.mean(setting)


class MaxFusion(MeanFusion):
    """Maximum over providers of row-normalised scores (CombMAX); parameters as MeanFusion."""

    def row_weights(self, gallery: Gallery) -> None:
        """Return None: a maximum is no sum."""

    def score(self, views: Views, setting: Normalization) -> Scores:
        """Return the maximum over providers."""
        peak: Scores = views[setting].max(axis=1)  # (B, K, N) -> (B, N)
        return peak


def check_normalization(name: Normalization) -> Normalization:
    """Return the name; raise OptionError with the closest match if it is unknown."""
    if name not in NORMALIZATIONS:
        raise OptionError(f"normalize: unknown {name!r}{closest(name, NORMALIZATIONS)}")
    return name
