"""What is in a store."""

import json

import numpy as np
import pytest

from dafm_core.comparison.audit import audit
from dafm_core.comparison.inspection import Cost, inspect_store
from dafm_core.errors import StoreError
from dafm_core.reporting.summaries import print_inspection
from dafm_core.store.store import SimilarityStore


@pytest.fixture
def store(tmp_path, make_problem):
    dataset, stack = make_problem(n_queries=60, n_gallery=40)
    store = SimilarityStore.create(tmp_path / "store", dataset)
    for name, matrix in zip(stack.names, stack.matrices, strict=True):
        facts = {"source": "test", "fingerprint": {"seed": 7}, "missing_images": ["img3"]}
        with store.writer(name, passport=facts, block_rows=60) as writer:
            writer.write(0, np.asarray(matrix))
            if name == "model-0":
                writer.add_cost(ms_per_query=1.5, peak_memory_gb=0.25, gallery_seconds=9.0)
    return store


def test_json_is_what_the_files_say(store, make_problem):
    inspection = inspect_store(store)
    record = json.loads(json.dumps(inspection.to_json(), allow_nan=False))
    assert (record["n_queries"], record["n_gallery"], record["n_groups"]) == (60, 40, 15)
    assert (record["damage"], record["problems"], record["unfinished"]) == (None, [], [])
    for written, name in zip(record["providers"], store.providers, strict=True):
        passport = store.passport(name)
        del passport["blocks"]
        assert written == {**passport, "cost": store.cost(name)}
    _, stack = make_problem(n_queries=60, n_gallery=40)
    assert record["audits"] == json.loads(json.dumps(audit(stack).to_json()))


def test_fields_are_typed_and_unknown_costs_are_none(store):
    first, second, _ = inspect_store(store).providers
    assert (first.name, first.source, first.dtype) == ("model-0", "test", "float32")
    assert first.fingerprint == {"seed": "7"}
    assert first.missing_images == ("img3",)
    assert first.cost == Cost(ms_per_query=1.5, peak_memory_gb=0.25)
    assert second.cost == Cost()


def test_damage_is_listed_on_request_and_refused_without(store):
    assert inspect_store(store, verify=True).damage == ()
    array = np.load(store.path / "model-1" / "scores.npy", mmap_mode="r+")
    array[0, 0] += 1
    array.flush()
    with pytest.raises(StoreError, match="model-1: rows 0:60 do not match their checksum"):
        inspect_store(store)
    (line,) = inspect_store(store, verify=True).damage
    assert "model-1: rows 0:60 do not match their checksum" in line


def test_without_targets_or_providers_nothing_is_audited(tmp_path, make_problem):
    dataset, stack = make_problem(n_queries=8, n_gallery=40)
    empty = SimilarityStore.create(tmp_path / "empty", dataset)
    assert inspect_store(empty).audits is None
    blind = dataset.queries.with_columns(targets=dataset.queries["targets"].list.head(0))
    blind = type(dataset)(protocol="toy", gallery_ids=dataset.gallery_ids, queries=blind)
    store = SimilarityStore.create(tmp_path / "blind", blind)
    with store.writer("one", passport={}, block_rows=8) as writer:
        writer.write(0, np.asarray(stack.matrices[0]))
    inspection = inspect_store(store)
    assert inspection.audits is None
    assert inspection.providers[0].fingerprint == {}  # a provider may state none


def test_what_labels_buy_is_measured_on_request_and_shown(store, capsys):
    assert inspect_store(store).to_json()["learning_curve"] is None
    inspection = inspect_store(store, learning_curve=True)
    record = json.loads(json.dumps(inspection.to_json()["learning_curve"], allow_nan=False))
    assert [point["labels"] for point in record["points"]] == [0, 24, 48]
    assert (record["n_folds"], record["n_measured"], record["n_draws"]) == (2, 24, 4)
    print_inspection(inspection)
    said = " ".join(capsys.readouterr().out.split())
    assert "What labels buy" in said
    assert "48 (all)" in said
    assert "lowest and highest of 4 draws" in said
