"""i-CIR, GeneCIS, FreeDom: candidates of a query's own, queries made by a rule; AP by hand."""

import json
from itertools import permutations

import numpy as np
import pytest

from dafm_core.datasets import freedom, genecis, icir
from dafm_core.errors import DatasetError, OptionError
from dafm_core.ground.ragged import Ragged
from dafm_core.metrics.functional import trapezoid_precision
from dafm_core.metrics.ranking import rank_targets
from dafm_core.metrics.spec import parse_metrics
from dafm_core.metrics.truth import Truth


def measured(dataset, scores, *names):
    return Truth.of(dataset).measure(np.asarray(scores, np.float32), parse_metrics(names))


def area(order, relevant):
    """The authors' loop over the ranks of the relevant, from 0."""
    total = 0.0
    for j, r in enumerate(place for place, c in enumerate(order) if c in relevant):
        before = 1.0 if r == 0 else j / r
        total += (before + (j + 1) / (r + 1)) / 2 / (len(relevant) + 1e-5)
    return total


def test_trapezoid_precision_is_the_mean_over_orders_of_ties():
    rng = np.random.default_rng(0)
    for _ in range(25):
        scores = rng.integers(0, 3, 6).astype(float)
        relevant = np.sort(rng.choice(6, rng.integers(1, 5), replace=False))
        orders = [o for o in permutations(range(6)) if (np.diff(scores[list(o)]) <= 0).all()]
        expected = np.mean([area(order, set(relevant)) for order in orders])
        ranks = rank_targets(scores[None], Ragged.from_rows([relevant]))
        assert trapezoid_precision(ranks)[0] == pytest.approx(expected, abs=1e-12)


def test_trapezoid_precision_by_hand():
    ranks = rank_targets(np.array([[5.0, 4, 3, 2]]), Ragged.from_rows([[0, 2]]))
    # ranks 0 and 2: (1 + 1)/2 and (1/2 + 2/3)/2, over 2 + 1e-5
    assert trapezoid_precision(ranks)[0] == pytest.approx((1 + 7 / 12) / (2 + 1e-5))


def test_trapezoid_precision_with_unknown_scores():
    scores, unknown = np.array([[3.0, 2, 0, 0]] * 2), np.array([[0, 0, 1, 1]] * 2, bool)
    ranks = rank_targets(scores, Ragged.from_rows([[0], [2]]), unknown=unknown)
    (metric,) = parse_metrics(["map-trapezoid"])
    from dafm_core.metrics.ranking import Places

    values = metric(Places(ranks, None, ranks))
    assert values[0] == pytest.approx(1 / (1 + 1e-5))
    assert np.isnan(values[1]), "which of two unknown ones comes first is not known"


@pytest.fixture
def icir_folder(tmp_path):
    folder = tmp_path / "icir"
    folder.mkdir()
    (folder / "query_files.csv").write_text(
        "icir/query/owl/q3.jpg,in heavy snow,owl\n"
        "icir/query/owl/q4.jpg,as a drawing,owl\n"
        "icir/query/tower/q1.jpg,in heavy snow,tower\n"
    )
    (folder / "database_files.csv").write_text(
        "icir/database/owl/1.jpg,in heavy snow,owl\n"
        "icir/database/owl/2.jpg,,owl\n"
        "icir/database/owl/3.jpg,in heavy snow,owl\n"
        "icir/database/tower/1.jpg,in heavy snow,tower\n"
    )
    return folder


def test_icir_ranks_each_query_in_the_gallery_of_its_instance(icir_folder):
    dataset = icir.load(icir_folder)
    assert dataset.protocol == "icir"
    assert dataset.n_gallery == 4
    assert [list(row) for row in dataset.targets] == [[0, 2], [], [3]]
    assert [list(row) for row in dataset.excluded] == [[3], [3], [0, 1, 2]]
    assert list(dataset.groups) == ["owl", "owl", "tower"]
    scores = [[1, 2, 3, 9], [1, 2, 3, 9], [9, 9, 9, 0]]
    values = measured(dataset, scores, "map-trapezoid", "recall@1")
    # 3, 2, 1: relevant at ranks 0 and 2; nothing relevant counts 0; alone in its own gallery
    expected = [(1 + 7 / 12) / (2 + 1e-5), 0, 1 / (1 + 1e-5)]
    np.testing.assert_allclose(values[:, 0], expected)
    np.testing.assert_allclose(values[:, 1], [1 / 2, 0, 1])


def test_icir_in_part(icir_folder):
    part = icir.load(icir_folder, instances="tower")
    assert (part.protocol, part.n_queries, part.n_gallery) == ("icir-part", 1, 1)
    with pytest.raises(OptionError, match="no 'towr'; did you mean 'tower'"):
        icir.load(icir_folder, instances="towr")
    (icir_folder / "query_files.csv").write_text("a.jpg,one, two,owl\n")
    with pytest.raises(DatasetError, match=r"query_files.csv: line 1: expected image path"):
        icir.load(icir_folder)


OBJECTS = [
    {
        "condition": "ladder",
        "reference": {"val_image_id": 11},
        "target": {"val_image_id": 42},
        "gallery": [{"val_image_id": 7}, {"val_image_id": 9}],
    },
    {
        "condition": "boat",
        "reference": {"val_image_id": 11},
        "target": {"val_image_id": 7},
        "gallery": [{"val_image_id": 7}, {"val_image_id": 42}],
    },
]


def test_genecis_adds_the_target_to_its_gallery(tmp_path):
    (tmp_path / "genecis").mkdir()
    (tmp_path / "genecis" / "change_object.json").write_text(json.dumps(OBJECTS))
    dataset = genecis.load(tmp_path, task="change-object", text="sentence")
    assert dataset.protocol == "genecis-change-object"
    assert dataset.gallery_ids == tuple(f"{i:012d}" for i in (42, 7, 9))
    assert dataset.queries["candidates"].list.len().to_list() == [3, 2]
    assert dataset.queries["text"][0] == "Change an object of the image to ladder"
    assert dataset.queries["group"].n_unique() == 1
    scores = [[1, 2, 0], [5, 5, 9]]  # the third is no candidate of the second query
    values = measured(dataset, scores, "recall@1", "recall@2")
    np.testing.assert_allclose(values, [[0, 1], [1 / 2, 1]])


def test_genecis_items_of_attribute_tasks_are_boxes(tmp_path):
    def box(image, *sides):
        return {"image_id": image, "instance_bbox": list(sides)}

    row = {
        "condition": "wooden",
        "reference": box(230, 4, 9, 60, 31),
        "target": box(7, 1, 2, 3, 4.5),
        "gallery": [box(7, 1, 2, 3, 4), box("8", 0, 0, 5, 5)],
    }
    file = tmp_path / "focus_attribute.json"
    file.write_text(json.dumps([row]))
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "7@1,2,3,4.5.jpg").touch()
    dataset = genecis.load(tmp_path, task="focus-attribute")
    assert dataset.gallery_ids == ("7@1,2,3,4.5", "7@1,2,3,4", "8@0,0,5,5")
    assert dataset.images["7@1,2,3,4.5"].name == "7@1,2,3,4.5.jpg"
    file.write_text(json.dumps([row | {"target": {"image_id": 7}}]))
    with pytest.raises(DatasetError, match=r"query 0: target: expected a field 'instance_bbox'"):
        genecis.load(tmp_path, task="focus-attribute")


def test_freedom_asks_for_every_other_domain(tmp_path):
    folder = tmp_path / "data" / "nico"
    folder.mkdir(parents=True)
    (folder / "query_files.csv").write_text("nico/dim/lantern/q.jpg dim lantern\n")
    (folder / "database_files.csv").write_text(
        "nico/dim/lantern/1.jpg dim lantern\nnico/rock/lantern/2.jpg rock lantern\n"
        "nico/rock/lantern/3.jpg rock lantern\nnico/grass/cat/4.jpg grass cat\n"
    )
    dataset = freedom.load(tmp_path, set="nico")
    assert dataset.protocol == "freedom-nico"
    assert dataset.queries["text"].to_list() == ["grass", "rock"]
    assert [list(row) for row in dataset.targets] == [[], [1, 2]]
    assert dataset.queries["tags"].to_list() == [["dim to grass"], ["dim to rock"]]
    assert not dataset.excluded.counts.any()
    values = measured(dataset, [[0, 1, 2, 3]] * 2, "map-trapezoid")[:, 0]
    # ranks 1 and 2: (0/1 + 1/2)/2 and (1/2 + 2/3)/2
    np.testing.assert_allclose(values, [0, (1 / 4 + 7 / 12) / (2 + 1e-5)])
    assert freedom.load(tmp_path, set="nico", source="dim").protocol == "freedom-nico-dim"
    with pytest.raises(OptionError, match="no 'rok'; did you mean 'rock'"):
        freedom.load(tmp_path, set="nico", source="rok")


def test_freedom_reads_imagenet_r_as_published(tmp_path):
    folder = tmp_path / "imagenet_r"
    folder.mkdir()
    (folder / "imgnet_targets.txt").write_text(
        "imgnet/real/n01/a.jpg 4001 \nimgnet/toy/n01/b.jpg 2001 \nimgnet/art/n02/c.jpg 2 \n"
    )
    dataset = freedom.load(tmp_path, set="imagenet-r")
    assert dataset.gallery_ids[0] == "imagenet_r/real/n01/a.jpg"
    assert dataset.queries["text"].to_list() == [
        "cartoon",
        "toy",
        "cartoon",
        "photo",
        "photo",
        "toy",
    ]
    assert dataset.targets.counts.tolist() == [0, 1, 0, 1, 0, 0]
    (folder / "imgnet_targets.txt").write_text("imgnet/a.jpg\n")
    with pytest.raises(DatasetError, match="line 1: expected path and code between blanks"):
        freedom.load(tmp_path, set="imagenet-r")
