"""LambdaMART over the candidates of a query: trees that correct a plain mean of z-scores.

What is learned is LightGBM's own model text, a string that goes into the JSON of a saved fuser;
nothing is pickled. The channels, and which candidates to learn from, are core's, so that the trees
are compared with LightFusion on the same inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import FuserError
from dafm_core.fusion.base import Scores
from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.channels.fuser import ChannelFusion, Learned, ViewScorer
from dafm_core.fusion.channels.view import ChannelReader, TileView
from dafm_core.ground.progress import Progress
from dafm_plugin_lambdamart.objective import OneTarget
from dafm_plugin_lambdamart.options import LambdaMartOptions
from dafm_plugin_lambdamart.trees import Trees

if TYPE_CHECKING:
    import lightgbm

N_DECIMALS: Final = 3
"""Of a channel, in standard deviations of its row."""
BLOCK: Final = 64
"""Examples that are rounded, and queries that are scored, at a time."""


class LambdaMartFusion(ChannelFusion[LambdaMartOptions]):
    """Fuse by gradient-boosted trees with the LambdaRank objective (LightGBM).

    The trees see a candidate's channels and their mean, start from that mean, and learn from hard
    and from random candidates: on hard ones alone they would never see the tail that they rank
    later. Scores are of the whole gallery.

    Parameters
    ----------
    **options
        See :class:`LambdaMartOptions`.

    References
    ----------
    Burges, From RankNet to LambdaRank to LambdaMART, MSR-TR-2010-82; Ke et al., LightGBM, NeurIPS
    2017. Trees start from the mean instead of zero, so that candidates in one leaf are not tied.
    """

    options_type = LambdaMartOptions

    def _learn(self, examples: Examples, progress: Progress | None) -> Learned:
        import lightgbm

        examples = examples.known_to_all()
        drawn = np.isfinite(examples.log_weight)  # (E, W)
        features, start = _features(examples.channels)
        labels = np.arange(drawn.shape[1]) == examples.target[:, None]
        settings = self._settings(n_features=features.shape[2])
        data = lightgbm.Dataset(
            features.reshape(-1, features.shape[2]) if drawn.all() else features[drawn],
            labels[drawn].astype(np.int32),
            group=drawn.sum(axis=1),
            init_score=start[drawn],
            params=settings,
        ).construct()
        del features, start, labels  # the data have their own
        if any(data.feature_num_bin(feature) for feature in range(data.num_feature())):
            settings["objective"] = OneTarget(drawn, examples.target)
            booster = lightgbm.train(settings, data, num_boost_round=self.options.n_trees)
        else:  # LightGBM takes no objective of ours where there is nothing to split on
            booster = lightgbm.Booster(settings, data)
        return Learned(notes={"model_text": booster.model_to_string()})

    def _ready(self, learned: Learned, reader: ChannelReader) -> ViewScorer:
        booster = _load(learned.notes["model_text"])
        trees = Trees.of(booster)

        def score(view: TileView) -> Scores:
            channels, visible = view.channels(), ~np.isneginf(view.tile[:, 0])
            fused = np.empty(visible.shape, np.float32)
            for some in _blocks(len(fused)):
                features, fused[some] = _rounded(channels[some])
                seen = visible[some]
                if trees is not None:
                    trees.add_to(fused[some], features)
                elif seen.any():
                    cells = features.transpose(0, 2, 1)[seen]
                    correction: Any = booster.predict(cells, raw_score=True)
                    fused[some][seen] += correction
            return fused

        return score

    def _settings(self, *, n_features: int) -> dict[str, Any]:
        return {
            "learning_rate": self.options.learning_rate,
            "num_leaves": self.options.n_leaves,
            "min_data_in_leaf": self.options.min_leaf,
            "monotone_constraints": [1] * n_features if self.options.monotone else None,
            "seed": self.options.seed,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }


def _features(channels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the trees see, (E, W, C + 1), and what they start from, (E, W)."""
    n_rows, n_channels, width = channels.shape
    seen = np.empty((n_rows, width, n_channels + 1), np.float32)
    start = np.empty((n_rows, width), np.float32)
    for some in _blocks(n_rows):  # a copy of all would be as large again
        features, start[some] = _rounded(channels[some])
        seen[some] = features.transpose(0, 2, 1)
    return seen, start


def _rounded(channels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the trees see, (B, C + 1, W), and what they start from, (B, W): the mean.

    What they see is rounded, so that the last bits of a sum, which follow the order of the gallery,
    choose no leaf. What they start from is part of the score, where rounding would turn such a bit
    into a step of 0.001.
    """
    n_rows, n_channels, width = channels.shape
    seen = np.empty((n_rows, n_channels + 1, width), np.float32)
    start: NDArray[np.float32] = np.round(channels, N_DECIMALS, out=seen[:, :-1]).mean(axis=1)
    np.round(start, N_DECIMALS, out=seen[:, -1])
    return seen, start


def _blocks(n_rows: int) -> Iterator[slice]:
    for first in range(0, n_rows, BLOCK):
        yield slice(first, first + BLOCK)


def _load(model_text: str) -> lightgbm.Booster:
    import lightgbm

    try:
        return lightgbm.Booster(model_str=model_text)
    except lightgbm.basic.LightGBMError as error:
        raise FuserError(
            f"lambdamart: the saved trees cannot be read ({error}). Train again."
        ) from None
