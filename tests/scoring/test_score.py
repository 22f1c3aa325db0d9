"""Scoring: checked at the boundary, resumable, honest about missing images."""

import numpy as np
import pytest
from PIL import Image

from dafm_core.catalog import load_dataset
from dafm_core.errors import ImageError, OptionError, ProviderError, SimilarityError, StoreError
from dafm_core.scoring.score import score, score_provider
from dafm_core.store.store import SimilarityStore


class WholeProvider:
    """A provider that does not factor."""

    name = "whole"

    def __init__(self, scores=None):
        self.scores = scores

    def similarity(self, queries, gallery):
        if self.scores is not None:
            return self.scores
        cells = [[len(q.text) * ord(i.id[-1]) for i in gallery] for q in queries]
        return np.array(cells, dtype=np.float32)


def scored_files(path):
    return {
        p.relative_to(path): p.read_bytes()
        for p in path.rglob("*")
        if p.suffix in {".npy", ".json", ".parquet"} and p.name != "cost.json"
    }


def test_the_stack_holds_what_the_provider_computes(tmp_path, dataset, make_provider):
    provider = make_provider()
    stack = score(dataset, {"dot": provider}, store=tmp_path / "s", block_rows=5)
    gallery = provider.encode_gallery(dataset.gallery_images())
    expected = provider.similarity(provider.encode_queries(dataset.iter_queries()), gallery)
    np.testing.assert_allclose(stack.matrices[0], expected, rtol=1e-6)


def test_the_order_of_providers_changes_nothing(tmp_path, dataset, make_provider):
    providers = {"b": make_provider(1), "a": make_provider(2), "c": WholeProvider()}
    score(dataset, providers, store=tmp_path / "one")
    score(dataset, dict(reversed(providers.items())), store=tmp_path / "two")
    assert scored_files(tmp_path / "one") == scored_files(tmp_path / "two")


def test_a_run_that_fails_halfway_keeps_its_blocks_and_resumes_to_the_same_bytes(
    tmp_path, dataset, make_provider
):
    with pytest.raises(
        ProviderError, match=r"'dot': raised RuntimeError: out of memory at queries"
    ):
        score_provider(
            dataset, "dot", make_provider(fail_at="8"), store=tmp_path / "s", block_rows=4
        )
    store = SimilarityStore.open(tmp_path / "s")
    assert (store.providers, store.unfinished) == ((), ("dot",))
    provider = make_provider()
    calls = []
    provider.encode_queries = lambda queries: (
        calls.append(len(queries)) or type(provider).encode_queries(provider, queries)
    )
    score_provider(dataset, "dot", provider, store=tmp_path / "s", block_rows=4)
    assert sum(calls) == 4  # blocks 0:4 and 4:8 were there
    score_provider(dataset, "dot", make_provider(), store=tmp_path / "whole", block_rows=4)
    assert scored_files(tmp_path / "s") == scored_files(tmp_path / "whole")


def test_gallery_features_are_encoded_once(tmp_path, dataset, make_provider):
    first, second, other = make_provider(), make_provider(), make_provider(seed=1)
    score_provider(dataset, "dot", first, store=tmp_path / "one")
    score_provider(dataset, "dot", second, store=tmp_path / "two")
    score_provider(dataset, "dot", other, store=tmp_path / "three")
    assert (first.n_encoded, second.n_encoded, other.n_encoded) == (9, 0, 9)


def test_a_provider_without_fingerprint_is_not_cached(tmp_path, dataset, make_provider):
    providers = [make_provider(), make_provider()]
    for provider, store in zip(providers, ("one", "two"), strict=True):
        del provider.fingerprint
        score_provider(dataset, "dot", provider, store=tmp_path / store)
    assert [p.n_encoded for p in providers] == [9, 9]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.zeros((12, 4), np.float32), r"expected similarity of shape \(12, 9\)"),
        (np.full((12, 9), np.nan, np.float32), r"expected finite float32 scores, got nan"),
        ("text", r"expected similarity of shape \(12, 9\).*got \(\)"),
    ],
)
def test_wrong_scores_name_the_provider_and_leave_no_matrix(tmp_path, dataset, scores, said):
    with pytest.raises(SimilarityError, match=f"provider 'whole'.*{said}"):
        score(dataset, [WholeProvider(scores)], store=tmp_path / "s")
    assert not (tmp_path / "s").exists()
    SimilarityStore.create(tmp_path / "s", dataset)
    with pytest.raises(SimilarityError):
        score(dataset, [WholeProvider(scores)], store=tmp_path / "s")
    store = SimilarityStore.open(tmp_path / "s")
    assert (store.providers, store.unfinished) == ((), ())


def test_wrong_features_name_the_provider(tmp_path, dataset, make_provider):
    provider = make_provider()
    provider.encode_gallery = lambda images: np.zeros((3, 5), np.float32)
    with pytest.raises(SimilarityError, match=r"'dot': expected 9 feature rows"):
        score_provider(dataset, "dot", provider, store=tmp_path / "s")
    provider.encode_gallery = lambda images: np.full((len(images), 5), np.nan, np.float32)
    with pytest.raises(SimilarityError, match=r"'dot': expected finite features"):
        score_provider(dataset, "dot", provider, store=tmp_path / "s")


def test_a_nameless_provider_and_an_empty_list_are_said(tmp_path, dataset, make_provider):
    with pytest.raises(ProviderError, match="expected a provider with a 'name'"):
        score(dataset, [make_provider()], store=tmp_path / "s")
    with pytest.raises(ProviderError, match="at least one provider"):
        score(dataset, [], store=tmp_path / "s")


def test_neighbours_and_cost_stand_beside_the_matrix(tmp_path, dataset, make_provider):
    store = score_provider(dataset, "dot", make_provider(), store=tmp_path / "s")
    assert store.neighbours("dot").shape == (9, 8)
    assert store.cost("dot")["ms_per_query"] >= 0
    other = score_provider(dataset, "dot", make_provider(), store=tmp_path / "t", neighbours=False)
    assert other.neighbours("dot") is None


def test_progress_reaches_the_end_of_every_stage(tmp_path, dataset, make_provider):
    seen = {}
    score_provider(
        dataset,
        "dot",
        make_provider(),
        store=tmp_path / "s",
        progress=lambda stage, done, total: seen.update({stage: (done, total)}),
    )
    assert seen == {"gallery": (9, 9), "queries": (12, 12)}


class PixelProvider:
    """Opens every image it is given."""

    def encode_gallery(self, images):
        return np.array([[np.asarray(i.open()).mean(), 1.0] for i in images], dtype=np.float32)

    def encode_queries(self, queries):
        return self.encode_gallery([q.reference for q in queries])

    def similarity(self, queries, gallery):
        return -np.abs(queries[:, None, 0] - gallery[None, :, 0])


@pytest.fixture
def pictures(tmp_path, dataset):
    from dataclasses import replace

    paths = {}
    for i, image_id in enumerate(dataset.gallery_ids):
        paths[image_id] = tmp_path / f"{image_id}.png"
        Image.new("L", (2, 2), i * 20).save(paths[image_id])
    paths["img4"].write_text("no image")
    paths["img7"].unlink()
    return replace(dataset, images=paths)


def test_a_broken_image_is_named(tmp_path, pictures):
    with pytest.raises(ImageError, match=r"image 'img4': .*img4.png is not an image"):
        score_provider(pictures, "pixel", PixelProvider(), store=tmp_path / "s")


def test_skipped_images_rank_last_and_skipped_references_are_chance(tmp_path, pictures):
    store = score_provider(
        pictures, "pixel", PixelProvider(), store=tmp_path / "s", on_missing="skip"
    )
    scores, references = store.scores("pixel"), pictures.queries["references"].explode().to_list()
    for row, reference in zip(scores, references, strict=True):
        if reference in {"img4", "img7"}:
            assert np.ptp(row) == 0
        else:
            assert row[4] == row[7] == row.min()
    passport = store.passport("pixel")
    assert passport["missing_images"] == passport["missing_references"] == ["img4", "img7"]


def test_a_gallery_without_any_image_is_an_error_even_when_skipping(tmp_path, dataset):
    with pytest.raises(ImageError, match="no gallery image can be opened"):
        score_provider(dataset, "p", PixelProvider(), store=tmp_path / "s", on_missing="skip")


def test_another_dataset_does_not_enter_the_store(tmp_path, dataset, make_provider):
    score_provider(dataset, "dot", make_provider(), store=tmp_path / "s")
    part = dataset.take(dataset.query_ids[:3])
    with pytest.raises(StoreError, match="queries_sha256"):
        score_provider(part, "dot", make_provider(), store=tmp_path / "s")


def test_a_registered_provider_goes_by_another_name(tmp_path):
    scenes = load_dataset("scenes", families=24)
    providers = {"scenes-color": {}, "same": ("scenes-color", {})}
    stack = score(scenes, providers, store=tmp_path / "s")
    assert stack.names == ("same", "scenes-color")
    np.testing.assert_array_equal(*stack.matrices)
    with pytest.raises(OptionError, match="unknown provider 'scenes-colour'"):
        score(scenes, {"mine": ("scenes-colour", {})}, store=tmp_path / "s")
