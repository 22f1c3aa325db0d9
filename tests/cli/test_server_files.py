"""``dafm lint`` and ``dafm score-file``: values computed by hand from the benchmarks' rules."""

import json

import pytest

from dafm_core.cli.main import main


@pytest.fixture
def circo(tmp_path):
    """Four queries; each list: reference, target, then 48 others; a second target is not listed."""
    rows = [
        {
            "id": i,
            "reference_img_id": 100 + i,
            "target_img_id": 200 + i,
            "gt_img_ids": [200 + i, 300 + i],
            "relative_caption": "is red",
            "shared_concept": "a cup",
            "semantic_aspects": ["negation"] if i < 1 else ["negation", "spatial"],
        }
        for i in range(4)
    ]
    write(tmp_path / "annotations/val.json", rows)
    ids = [100 + i for i in range(4)] + [200 + i for i in range(4)] + [300 + i for i in range(4)]
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (*ids, *range(400, 460))]
    coco = "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json"
    write(tmp_path / coco, {"images": images})
    lists = {str(i): [100 + i, 200 + i, *range(400, 448)] for i in range(4)}
    write(tmp_path / "circo.json", lists)
    return tmp_path


@pytest.fixture
def cirr(tmp_path):
    """Three queries over 60 images; a set of six images each."""
    images = [f"dev-{i}-0-img0" for i in range(60)]
    rows = [
        {
            "pairid": 70 + i,
            "reference": images[6 * i],
            "target_hard": images[6 * i + 1],
            "caption": "red",
            "img_set": {"id": i, "members": images[6 * i : 6 * i + 6]},
        }
        for i in range(3)
    ]
    write(tmp_path / "captions/cap.rc2.val.json", rows)
    write(tmp_path / "image_splits/split.rc2.val.json", {i: f"./dev/{i}.png" for i in images})
    header = {"version": "rc2", "metric": "recall"}
    lists = {str(70 + i): [m for m in images if m != images[6 * i]][:50] for i in range(3)}
    write(tmp_path / "recall.json", header | lists)
    header = {"version": "rc2", "metric": "recall_subset"}
    subset = {str(70 + i): images[6 * i + 1 : 6 * i + 4][::-1] for i in range(3)}
    write(tmp_path / "recall_subset.json", header | subset)
    return tmp_path


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def change(path, **lists):
    write(path, json.loads(path.read_text()) | lists)


def scored(folder, files, dataset, capsys, *options):
    argv = ["score-file", *(str(folder / f) for f in files), "--dataset", f"{dataset}:{folder}"]
    assert main([*argv, *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def linted(folder, file, capsys, dataset=None):
    argv = ["lint", str(folder / file), "--json"]
    code = main([*argv, "--dataset", f"{dataset}:{folder}"] if dataset else argv)
    record = json.loads(capsys.readouterr().out)
    assert code == (2 if record["errors"] else 0)
    return record["errors"], record["warnings"]


def test_circo_is_scored_as_its_server_does(circo, capsys):
    """The only hit of two targets is at rank 2: AP = (1/2)/2; R@K counts the first target."""
    record = scored(circo, ["circo.json"], "circo", capsys)
    values = record["values"]
    assert {k: values[f"map@{k}"] for k in (5, 10, 25, 50)} == dict.fromkeys((5, 10, 25, 50), 25.0)
    assert values["first@1"] == 0.0
    assert values["first@5"] == values["first@50"] == 100.0
    assert record["undecided"] == record["notes"] == []
    assert linted(circo, "circo.json", capsys, "circo") == ([], [])


def test_circo_by_semantic_aspect(circo, capsys):
    change(circo / "circo.json", **{"0": [200, 300, 100, *range(400, 447)]})
    record = scored(circo, ["circo.json"], "circo", capsys)
    assert record["values"]["map@10"] == pytest.approx((100 + 3 * 25) / 4)
    by_tag = {tag: values["map@10"] for tag, values in record["by_tag"].items()}
    assert by_tag == {"negation": pytest.approx((100 + 3 * 25) / 4), "spatial": pytest.approx(25)}


@pytest.mark.parametrize("form", [str, "{:012d}".format])
def test_circo_ids_may_be_texts(circo, capsys, form):
    numbers = scored(circo, ["circo.json"], "circo", capsys)["values"]
    lists = json.loads((circo / "circo.json").read_text())
    write(circo / "circo.json", {q: [form(i) for i in ids] for q, ids in lists.items()})
    assert linted(circo, "circo.json", capsys, "circo") == ([], [])
    assert scored(circo, ["circo.json"], "circo", capsys)["values"] == numbers


def test_circo_an_image_twice_is_an_error(circo, capsys):
    change(circo / "circo.json", **{"2": [102, 202, "202", *range(400, 447)]})
    for dataset in (None, "circo"):
        assert linted(circo, "circo.json", capsys, dataset)[0] == [
            "1 lists name an image twice: '2'"
        ]
    argv = ["score-file", str(circo / "circo.json"), "--dataset", f"circo:{circo}"]
    assert main(argv) == 2
    assert "lists image '202' twice" in capsys.readouterr().err


def test_circo_with_the_reference_excluded_is_a_protocol_of_its_own(circo, capsys):
    argv = ["import", str(circo / "circo.json"), "--provider", "m", "--dataset", f"circo:{circo}"]
    found = {}
    for choice in ("keep", "exclude"):
        store = str(circo / choice)
        more = ["--store", store, "--dataset-set", f"reference={choice}"]
        assert main([*argv, *more]) == 0
        capsys.readouterr()
        assert main(["inspect", store, "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        singles = record["audits"]["headroom"]["singles"]["m"]
        found[record["protocol"]] = [singles[m] for m in ("first@1", "first@5")]
    assert found == {"circo-val": [0.0, 1.0], "circo-val-exclude": [1.0, 1.0]}


def test_cirr_both_files_together_decide_rmean(cirr, capsys):
    """Lists follow the file but the reference: targets at 1, 6 (after five), 12; subset at 3."""
    record = scored(cirr, ["recall.json", "recall_subset.json"], "cirr", capsys)
    third = 100 / 3
    assert record["values"] == {
        "recall@1": pytest.approx(third),
        "recall@5": pytest.approx(third),
        "recall@10": pytest.approx(2 * third),
        "recall@50": pytest.approx(100),
        "rsubset@1": 0.0,
        "rsubset@2": 0.0,
        "rsubset@3": 100.0,
        "rmean": pytest.approx(third / 2),
    }
    one = scored(cirr, ["recall_subset.json"], "cirr", capsys)
    assert list(one["values"]) == ["rsubset@1", "rsubset@2", "rsubset@3"]
    assert "rmean" in one["undecided"]
    for file in ("recall.json", "recall_subset.json"):
        assert linted(cirr, file, capsys, "cirr") == ([], [])


def test_cirr_counts_a_listed_reference_as_written(cirr, capsys):
    """The reference first: the target of query 70 is second, and R@1 is lost."""
    before = json.loads((cirr / "recall.json").read_text())["70"]
    change(cirr / "recall.json", **{"70": ["dev-0-0-img0", *before[:49]]})
    record = scored(cirr, ["recall.json"], "cirr", capsys)
    assert record["values"]["recall@1"] == 0.0
    assert record["values"]["recall@5"] == pytest.approx(100 / 3)
    errors, warnings = linted(cirr, "recall.json", capsys, "cirr")
    assert errors == []
    assert warnings == ["1 lists name an excluded image (the reference), which loses a place: '70'"]
    assert any("loses a place" in note for note in record["notes"])


def test_cirr_an_image_that_is_not_listed_is_not_retrieved(cirr, capsys):
    """The target of query 72 stands at 12 of 50; cut to 11 images, no depth finds it."""
    before = json.loads((cirr / "recall.json").read_text())["72"]
    change(cirr / "recall.json", **{"72": before[:11]})
    record = scored(cirr, ["recall.json"], "cirr", capsys)
    assert record["values"]["recall@50"] == pytest.approx(200 / 3)
    assert linted(cirr, "recall.json", capsys)[0] == ["1 lists have not 50 ids: '72'"]


def test_lint_without_a_dataset_checks_the_form(cirr, capsys):
    change(cirr / "recall_subset.json", version="rc1", **{"71": [3, "a", "a"]})
    assert linted(cirr, "recall_subset.json", capsys)[0] == [
        "'version' is 'rc1', not 'rc2'",
        "1 lists hold ids that are no str: '71'",
        "1 lists name an image twice: '71'",
    ]


def test_what_a_file_decides_is_printed(cirr, capsys):
    argv = ["score-file", str(cirr / "recall.json"), "--dataset", f"cirr:{cirr}"]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "decides R@1, R@5, R@10, R@50" in text
    assert "decided by none: Rs@1, Rs@2, Rs@3, Rmean" in text
    assert main([argv[0], argv[1], *argv[1:]]) == 2
    assert "decides recall@1, as recall.json does" in capsys.readouterr().err
    assert main(["lint", str(cirr / "recall.json")]) == 0
    assert "checked its form; 0 errors, 0 warnings" in capsys.readouterr().out
