"""A model's own ranking of the subsets: decides its Rs@K, nothing else, and travels with it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dafm_core.cli.main import main
from dafm_core.datasets import cirr
from dafm_core.errors import StoreError, SubmissionError
from dafm_core.evaluation.evaluate import evaluate, evaluate_providers
from dafm_core.evaluation.score_file import score_submission
from dafm_core.formats.importing import import_subset_file
from dafm_core.formats.submission import run_blocks, write_submission
from dafm_core.fusion.static import MeanFusion
from dafm_core.store.run import Run
from dafm_core.store.store import SimilarityStore

SUBSET = ("rsubset@1", "rsubset@2", "rsubset@3")


@pytest.fixture
def problem(make_problem):
    dataset, stack = make_problem(n_queries=40, n_gallery=70)
    dataset = replace(dataset, protocol="cirr-val", metrics=cirr.METRICS)
    return dataset, [np.asarray(matrix) for matrix in stack.matrices]


@pytest.fixture
def store(tmp_path, problem):
    dataset, matrices = problem
    store = SimilarityStore.create(tmp_path / "store", dataset)
    for name, matrix in zip("ab", matrices, strict=False):
        with store.writer(name, passport={"source": "imported"}, block_rows=64) as writer:
            writer.write(0, matrix)
    return store


@pytest.fixture
def file(tmp_path, problem):
    """The subset file of a third model."""
    dataset, matrices = problem
    run = Run("r", dataset.query_ids, dataset.gallery_ids, matrices[2])
    return write_submission(
        tmp_path / "recall_subset.json",
        dataset,
        run_blocks(run),
        gallery_ids=run.gallery_ids,
        metric="recall_subset",
    )


def test_it_decides_the_subset_metrics_of_its_provider_alone(store, file, problem):
    before = evaluate_providers(store.stack())
    fused = evaluate(MeanFusion(), store.stack())
    import_subset_file(store, "a", file)
    stack = store.stack()
    after, by_file = evaluate_providers(stack), score_submission(file, problem[0])
    for metric in cirr.METRICS[:4]:
        assert after["a"].frame[metric].equals(before["a"].frame[metric])
    for metric in SUBSET:
        assert after["a"].frame[metric].equals(by_file.frame[metric])
        assert not after["a"].frame[metric].equals(before["a"].frame[metric])
    assert after["b"].frame.equals(before["b"].frame)
    assert evaluate(MeanFusion(), stack).frame.equals(fused.frame)
    values = after["a"].values
    assert values["rmean"] == pytest.approx((values["recall@5"] + values["rsubset@1"]) / 2)
    part = stack.take_queries(stack.query_ids[::-3]).take_gallery(stack.gallery_ids[::-1])
    expected = after["a"].frame[::-3]
    assert evaluate_providers(part)["a"].frame.equals(expected)


def test_a_depth_beyond_its_lists_is_decided_only_where_the_target_is_listed(store, file, problem):
    import_subset_file(store, "a", file)
    dataset = problem[0]
    lists = json.loads(file.read_text())
    targets = [dataset.gallery_ids[column] for column in dataset.targets.values]
    found = [t in lists[q] for q, t in zip(dataset.query_ids, targets, strict=True)]
    assert 0 < sum(found) < len(found)
    evaluation = evaluate_providers(store.stack(), metrics=["rsubset@3", "rsubset@4"])["a"]
    assert evaluation.frame["rsubset@3"].to_list() == [float(known) for known in found]
    deeper = evaluation.frame["rsubset@4"].to_list()  # lists of three of five
    assert [value is None or np.isnan(value) for value in deeper] == [not known for known in found]
    assert evaluation.undecided["rsubset@4"] == pytest.approx(1 - np.mean(found))


def test_it_goes_with_the_rows_it_was_added_to(store, file, problem, tmp_path):
    import_subset_file(store, "a", file)
    content = json.loads(file.read_text()) | {"metric": "recall"}
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(SubmissionError, match="ranks the gallery"):
        import_subset_file(store, "a", tmp_path / "other.json")
    with pytest.raises(StoreError, match="no provider 'c'"):
        import_subset_file(store, "c", file)
    damaged = store.path / "a" / "subset.parquet"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + b"x")
    with pytest.raises(StoreError, match=r"subset\.parquet: was changed"):
        store.stack()
    damaged.write_bytes(whole)
    with store.writer("a", passport={"x": "y"}, block_rows=64, overwrite=True) as writer:
        writer.write(0, problem[1][1])
    with pytest.raises(StoreError, match="goes with other scores than those of 'a'"):
        store.stack()


def test_split_and_merge_carry_it(store, file, tmp_path):
    import_subset_file(store, "a", file)
    ids = store.dataset.query_ids
    for name, some in (("1", ids[::2]), ("2", ids[1::2]), ("all", ids)):
        (tmp_path / f"{name}.txt").write_text("\n".join(some))
    for name in "12":
        queries = ["--queries", str(tmp_path / f"{name}.txt")]
        assert main(["split", str(store.path), *queries, "--out", str(tmp_path / name)]) == 0
    parts = [str(tmp_path / "1"), str(tmp_path / "2")]
    order = ["--queries", str(tmp_path / "all.txt"), "--out", str(tmp_path / "merged")]
    assert main(["merge", *parts, *order]) == 0
    for file_name in ("subset.parquet", "subset.json", "passport.json"):
        merged = tmp_path / "merged" / "a" / file_name
        assert merged.read_bytes() == (store.path / "a" / file_name).read_bytes()


def test_from_the_command_line_and_said_in_reports(store, file, problem, tmp_path, capsys):
    np.save(tmp_path / "m.npy", problem[1][0])
    argv = ["import", str(tmp_path / "m.npy"), "--provider", "own", "--store", str(store.path)]
    assert main([*argv, "--subset-file", str(file)]) == 0
    capsys.readouterr()
    assert main(["inspect", str(store.path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    note = "cirr-val: Rs@K of own is that of its own file, and not of its rows"
    assert note in record["problems"]
    singles = record["audits"]["headroom"]["singles"]
    expected = score_submission(file, problem[0]).values
    assert {m: singles["own"][m] for m in SUBSET} == expected
    assert singles["own"]["recall@1"] == singles["a"]["recall@1"]
