"""The battery itself: a sound provider passes, and every check has a provider that it catches."""

import random
import zlib

import numpy as np
import pytest

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import ImageError, ProviderError
from dafm_core.testing import (
    CheckFailed,
    NotApplicable,
    ProviderSample,
    check_provider,
    provider_checks,
    summarize,
)


class MeanColour:
    """Encodes: mean colour of the picture; a text is three fixed numbers."""

    geometry = "dot"

    def __init__(self):
        self.fingerprint = {"kind": "mean colour"}

    def encode_gallery(self, images):
        colours = [np.asarray(image.open().convert("RGB")).mean((0, 1)) / 255 for image in images]
        return np.array(colours, np.float32).reshape(-1, 3)

    def encode_queries(self, queries):
        texts = [q.text for q in queries]
        numbers = [[zlib.crc32(f"{t}{i}".encode()) / 2**32 for i in range(3)] for t in texts]
        return self.encode_gallery([q.reference for q in queries]) + np.array(
            numbers, np.float32
        ).reshape(-1, 3)

    def similarity(self, queries, gallery):
        return queries @ gallery.T


class Whole:
    """The same without factoring; a subclass breaks ``spoil``."""

    def __init__(self):
        self._model = MeanColour()

    def similarity(self, queries, gallery):
        wanted, there = self._model.encode_queries(queries), self._model.encode_gallery(gallery)
        scores = self._model.similarity(wanted, there)
        return self.spoil(scores, queries)

    def spoil(self, scores, queries):
        return scores


class WrongDtype(Whole):
    def spoil(self, scores, queries):
        return scores.astype(np.float64)


class Transposed(Whole):
    def spoil(self, scores, queries):
        return scores.T


class NotFinite(Whole):
    def spoil(self, scores, queries):
        scores[0, 0] = np.nan
        return scores


class SortedRows(Whole):
    def spoil(self, scores, queries):
        return scores[np.argsort(scores[:, 0])]


class SortedColumns(Whole):
    def spoil(self, scores, queries):
        return scores[:, np.argsort(scores[0])]


class QueriesSeeEachOther(Whole):
    def spoil(self, scores, queries):
        return scores - scores.mean(0)


class CandidatesSeeEachOther(Whole):
    def spoil(self, scores, queries):
        return scores / np.abs(scores).max(1, keepdims=True)


class Noisy(Whole):
    def __init__(self):
        super().__init__()
        self._rng = np.random.default_rng(0)

    def spoil(self, scores, queries):
        return scores + self._rng.standard_normal(scores.shape).astype(np.float32) * 1e-5


class Seeds(Whole):
    def spoil(self, scores, queries):
        random.seed(0)
        return scores


class SeedsNumpy(Whole):
    def spoil(self, scores, queries):
        np.random.seed(0)  # noqa: NPY002
        return scores


class RemembersIds(Whole):
    def spoil(self, scores, queries):
        return scores + np.array([[zlib.crc32(q.id.encode()) % 7] for q in queries], np.float32)


class NoEmptyText(Whole):
    def spoil(self, scores, queries):
        return scores / np.float32(all(query.text for query in queries))


class RefusesLongText(Whole):
    error: type[Exception] = ProviderError

    def spoil(self, scores, queries):
        if any(len(query.text) > 500 for query in queries):
            raise self.error("too long")
        return scores


class FailsOnLongText(RefusesLongText):
    error = IndexError


class WideFeatures(MeanColour):
    def encode_gallery(self, images):
        return super().encode_gallery(images).astype(np.float64)

    def similarity(self, queries, gallery):
        return super().similarity(queries, gallery).astype(np.float32)


class WritesFeatures(MeanColour):
    def similarity(self, queries, gallery):
        gallery += 0
        return queries @ gallery.T


class BlockShapedFeatures(MeanColour):
    def encode_gallery(self, images):
        return np.pad(super().encode_gallery(images), ((0, 0), (0, len(images))))

    def similarity(self, queries, gallery):
        return queries[:, :3] @ gallery[:, :3].T


class ScoresBrokenPictures(MeanColour):
    def encode_gallery(self, images):
        try:
            return super().encode_gallery(images)
        except ImageError:
            return np.zeros((len(images), 3), np.float32)


class NoInnerProduct(MeanColour):
    def similarity(self, queries, gallery):
        return -np.abs(queries[:, None] - gallery).sum(2)


class NumericFingerprint(MeanColour):
    def __init__(self):
        self.fingerprint = {"weight": 0.5}


class MovingFingerprint(MeanColour):
    def similarity(self, queries, gallery):
        self.fingerprint["calls"] = self.fingerprint.get("calls", "") + "|"
        return super().similarity(queries, gallery)


class WaivesEverything(Whole):
    def spoil(self, scores, queries):
        raise NotApplicable("not here")


CAUGHT = {
    WrongDtype: {"shape_and_dtype"},
    NotFinite: {"finite"},
    SortedRows: {"query_order"},
    SortedColumns: {"gallery_order"},
    QueriesSeeEachOther: {"query_blocks"},
    CandidatesSeeEachOther: {"gallery_blocks"},
    Noisy: {"deterministic"},
    Seeds: {"global_state"},
    SeedsNumpy: {"global_state"},
    RemembersIds: {"duplicates"},
    NoEmptyText: {"unusual_texts"},
    FailsOnLongText: {"unusual_texts"},
    WideFeatures: {"feature_rows"},
    WritesFeatures: {"cached_features"},
    BlockShapedFeatures: {"cached_features"},
    ScoresBrokenPictures: {"broken_images"},
    NoInnerProduct: {"dot_geometry"},
    NumericFingerprint: {"fingerprint"},
    MovingFingerprint: {"fingerprint"},
    WaivesEverything: {"enough_checks"},
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return ProviderSample.draw(tmp_path_factory.mktemp("pictures"))


def outcomes(provider, sample, outcome):
    return {r.name for r in check_provider(provider, sample) if r.outcome == outcome}


@pytest.mark.parametrize("check", provider_checks(), ids=str)
def test_a_sound_provider_passes(check, sample):
    check(MeanColour(), sample)


def test_a_text_that_is_too_long_may_be_refused(sample):
    assert outcomes(RefusesLongText(), sample, "failed") == set()


def test_what_does_not_apply_is_counted(sample):
    results = check_provider(Whole(), sample)
    n = len(provider_checks())
    assert summarize(results) == f"{n - 4} checks ran: {n - 4} passed, 0 failed; 4 do not apply"


@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value):RuntimeWarning")
@pytest.mark.parametrize("broken", CAUGHT, ids=lambda kind: kind.__name__)
def test_a_broken_provider_is_caught(broken, sample):
    assert outcomes(broken(), sample, "failed") >= CAUGHT[broken]


def test_every_check_catches_something():
    names = {check.name for check in provider_checks()} | {"enough_checks"}
    assert set().union(*CAUGHT.values()) == names


def test_a_wrong_shape_fails_what_looks_at_it(sample):
    assert "shape_and_dtype" in outcomes(Transposed(), sample, "failed")


def test_pictures_are_drawn_where_no_sample_is_given():
    assert not [r for r in check_provider(MeanColour()) if r.outcome == "failed"]


def test_a_single_check_raises(sample):
    by_name = {check.name: check for check in provider_checks()}
    with pytest.raises(CheckFailed, match="float64"):
        by_name["shape_and_dtype"](WrongDtype(), sample)
    with pytest.raises(NotApplicable, match="does not factor"):
        by_name["feature_rows"](Whole(), sample)


def test_a_sample_of_a_dataset_holds_references_and_targets():
    rows = [{"query_id": "q", "reference": "a", "text": "t", "targets": ["c"]}]
    rows += [{"query_id": "r", "reference": "b", "text": "t", "targets": ["a"]}]
    dataset = Dataset(
        protocol="p", gallery_ids=tuple("xyzabc"), queries=query_frame(rows, where="test")
    )
    drawn = ProviderSample.of_dataset(dataset)
    assert [query.id for query in drawn.queries] == ["q", "r"]
    assert {image.id for image in drawn.gallery} == set("abcxyz")
