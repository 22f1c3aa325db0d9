"""The battery itself: sound rules pass, and every check has a fuser that it catches."""

from dataclasses import replace

import numpy as np
import pytest

from dafm_core.fusion.base import Fuser
from dafm_core.ground.normalize import zscore_rows
from dafm_core.testing import FuserSubject, NotApplicable, check_fuser, fuser_checks, summarize


class Mean(Fuser):
    """Mean of row z-scores."""

    def _scorer(self, gallery):
        return self._score

    def _score(self, tile):
        return self.combine(zscore_rows(tile))

    def combine(self, standard):
        return standard.mean(1)


class Shares(Mean):
    """Learns: weights by the mean z-score of the targets; keeps them."""

    kind = "learned"
    learns = True

    def __init__(self, *, power: float = 1.0):
        self.power = power

    def _fit(self, stack, *, bank, progress):
        standard = np.concatenate([zscore_rows(tile) for _, tile in stack.tiles()])
        targets = stack.dataset.targets
        own = np.maximum(standard[targets.rows, :, targets.values].mean(0), 0) ** self.power
        self.weights_ = ((own + 1e-3) / (own + 1e-3).sum()).astype(np.float32)

    def combine(self, standard):
        return np.einsum("k,bkn->bn", self.weights_, standard)

    def get_state(self):
        return {"weights": self.weights_}, {}

    def set_state(self, arrays, values):
        self.weights_ = arrays["weights"]


class WrongDtype(Mean):
    def combine(self, standard):
        return standard.mean(1).astype(np.float64)

    def fuse(self, stack, *, name=None):
        run = super().fuse(stack)
        object.__setattr__(run, "scores", run.scores.astype(np.float64))
        return run


class ForgetsExclusions(Mean):
    def combine(self, standard):
        return np.nan_to_num(standard.mean(1), neginf=0.0)


class SmoothsOverFileOrder(Mean):
    def combine(self, standard):
        mean = standard.mean(1)
        filled = np.where(np.isfinite(mean), mean, 0)
        return np.where(np.isfinite(mean), filled + np.roll(filled, 1, axis=1), mean)


class SmoothsAndSaysSo(SmoothsOverFileOrder):
    gallery_order_matters = True


class TrustsTheFirst(Fuser):
    def _fit(self, stack, *, bank, progress):
        self.first_ = next(iter(np.random.default_rng().permutation(stack.n_providers)))

    def _scorer(self, gallery):
        return lambda tile: zscore_rows(tile)[:, self.first_]


class Raw(Mean):
    def _score(self, tile):
        return tile.mean(1)


class TileMean(Mean):
    def combine(self, standard):
        mean = standard.mean(1)
        return mean - np.where(np.isfinite(mean), mean, 0).mean(0)


class DividesByZero(Mean):
    def _score(self, tile):
        kept = np.isfinite(tile)
        filled = np.where(kept, tile, 0)
        with np.errstate(all="ignore"):
            scaled = filled / np.ptp(filled, axis=-1, keepdims=True)
        return np.where(kept, scaled, -np.inf).mean(1)


class NeedsTwoProviders(Mean):
    def combine(self, standard):
        return standard[:, 0] + standard[:, 1]


class Unchecked(Mean):
    def head_scorer(self, target, heads):
        return self._head_scorer(target, heads)


class UnfittedCrash(Shares):
    def head_scorer(self, target, heads):
        return self._head_scorer(target, heads)

    def _scorer(self, gallery):
        weights = self.weights_
        return lambda tile: np.einsum("k,bkn->bn", weights, zscore_rows(tile))


class ForgetsQueries(Shares):
    def fit(self, stack, *, bank=None, progress=None):
        super().fit(stack, bank=bank, progress=progress)
        self.record_ = replace(self.record_, query_ids=frozenset())
        return self


class ForgetsState(Shares):
    def set_state(self, arrays, values):
        self.weights_ = np.ones(3, np.float32) / 3


class NeedsTwoCandidates(Mean):
    def combine(self, standard):
        return standard.mean(1) + 0 * np.partition(standard, 1, axis=-1)[:, 0, 1:2]


class NeedsCandidates(Mean):
    def combine(self, standard):
        mean = standard.mean(1)
        return mean - mean.max(1, keepdims=True)


class WaivesEverything(Mean):
    def _score(self, tile):
        raise NotApplicable("not here")


CAUGHT = {
    WrongDtype: {"run_shape"},
    ForgetsExclusions: {"run_shape"},
    SmoothsOverFileOrder: {"gallery_permutation"},
    Raw: {"row_scaling"},
    TileMean: {"tile_independence", "query_selection"},
    DividesByZero: {"constant_rows"},
    NeedsTwoProviders: {"one_provider"},
    NeedsTwoCandidates: {"one_candidate"},
    NeedsCandidates: {"nearly_all_excluded"},
    Unchecked: {"other_providers"},
    UnfittedCrash: {"unfitted"},
    ForgetsQueries: {"fitted_queries"},
    ForgetsState: {"state_round_trip"},
    WaivesEverything: {"enough_checks"},
}


def failed(fuser):
    return {r.name for r in check_fuser(fuser) if r.outcome == "failed"}


@pytest.mark.parametrize("fuser", [Mean(), Shares(power=2.0)], ids=["mean", "shares"])
@pytest.mark.parametrize("check", fuser_checks(), ids=str)
def test_sound_fusers_pass(check, fuser):
    check(FuserSubject(fuser))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("broken", CAUGHT, ids=lambda kind: kind.__name__)
def test_a_broken_fuser_is_caught(broken):
    assert failed(broken()) >= CAUGHT[broken]


def test_drawing_without_a_seed_is_caught():
    caught = set().union(*(failed(TrustsTheFirst()) for _ in range(8)))
    assert {"deterministic", "provider_order"} <= caught


def test_only_the_first_law_can_be_waived_and_it_is_counted():
    results = check_fuser(SmoothsAndSaysSo())
    assert [r.name for r in results if r.outcome != "passed"] == ["gallery_permutation"]
    n = len(results) - 1
    assert summarize(results) == f"{n} checks ran: {n} passed, 0 failed; 1 do not apply"


def test_checking_leaves_the_fuser_unfitted():
    fuser = Shares()
    check_fuser(fuser)
    assert not fuser.is_fitted
    assert not hasattr(fuser, "weights_")
