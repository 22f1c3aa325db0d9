"""Commands end to end on a small folder dataset, as a user types them."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from PIL import Image

from dafm_core.cli.main import COMMANDS, main
from dafm_core.fusion.debiased import DebiasedFusion
from dafm_core.store.editing import split_store
from dafm_core.store.store import SimilarityStore

SCORE = "score scenes --dataset-set families=24 --provider {} --store DIR/store"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of small scenes, scored from the command line."""
    folder = tmp_path_factory.mktemp("commands")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAFM_CACHE", str(folder / "cache"))
        for name in ("scenes-color", "scenes-layout", "scenes-words"):
            assert run(SCORE.format(name), folder) == 0
    return folder


def run(argv, folder):
    return main([part.replace("DIR", str(folder)) for part in argv.split()])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"  dafm {command}" in capsys.readouterr().out or command in {"plugins", "demo"}


@pytest.mark.parametrize("command", ["plugins", "providers", "fusers", "datasets"])
def test_listings_print_tables_and_json(command, capsys):
    assert main([command]) == 0
    text = capsys.readouterr().out
    assert main([command, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert all(record["name"].split("-")[0] in text for record in records)


def test_one_thing_is_shown_in_full(capsys):
    assert main(["datasets", "cirr"]) == 0
    assert "bank" in capsys.readouterr().out


def test_inspect_shows_singles_headroom_and_audits(folder, capsys):
    assert run("inspect DIR/store --verify", folder) == 0
    text = capsys.readouterr().out
    assert "oracle" in text
    assert "Only it solves" in text
    assert "both fail" in text
    assert "Gallery order does not tell" in text
    assert "checksums: 0 damaged" in text
    assert run("inspect DIR/store --json", folder) == 0
    record = json.loads(capsys.readouterr().out)
    assert [p["provider"] for p in record["providers"]] == [
        "scenes-color",
        "scenes-layout",
        "scenes-words",
    ]


def test_one_model_measures_no_design_effect(folder, capsys):
    store = SimilarityStore.open(folder / "store")
    split_store(store, store.dataset.query_ids[:60], folder / "alone")
    for name in ("scenes-layout", "scenes-words"):
        shutil.rmtree(folder / "alone" / name)
    assert run("inspect DIR/alone --json", folder) == 0
    resolution = json.loads(capsys.readouterr().out)["audits"]["resolution"]
    assert resolution["design_effect"] is resolution["clustered_half_width"] is None
    assert run("inspect DIR/alone", folder) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "a design effect is not measured" in text
    assert "design effect 1.00" not in text


def test_metrics_are_understood_as_tables_print_them(folder, capsys):
    argv = "compare DIR/store --fusers mean --folds 2 --resamples 99 --metrics {} --json DIR/{}"
    assert run(argv.format("R@1,mAP@5,Hit@10", "labels.json"), folder) == 0
    assert "Hit@10" in capsys.readouterr().out
    assert run(argv.format("recall@1,map@5,hit@10", "names.json"), folder) == 0
    labels, names = (json.loads((folder / f"{n}.json").read_text()) for n in ("labels", "names"))
    assert labels["rows"] == names["rows"]


def test_compare_prints_a_verdict_and_writes_every_export(folder, capsys):
    argv = "compare DIR/store --fusers mean,voting-rrf,logistic --folds 2 --resamples 200"
    files = "--json DIR/c.json --csv DIR/c.csv --markdown DIR/c.md --latex DIR/c.tex"
    more = "--per-query DIR/c.parquet --report DIR/c.html"
    assert run(f"{argv} {files} {more}", folder) == 0
    text = capsys.readouterr().out
    record = json.loads((folder / "c.json").read_text())
    assert record["verdict"]["reason"][:40] in text
    for audit in ("Only it solves", "both fail", "Gallery order does not tell", "10 % of the"):
        assert audit in text
    assert {row["kind"] for row in record["rows"]} == {"single", "static", "learned"}
    frame = pl.read_parquet(folder / "c.parquet")
    row = next(row for row in record["rows"] if row["name"] == "mean")
    mean = frame.filter(pl.col("row") == "mean")["recall@1"].mean()
    assert row["metrics"]["recall@1"]["value"] == pytest.approx(100 * mean)
    for name in ("c.csv", "c.md", "c.tex", "c.html"):
        assert "voting-rrf" in (folder / name).read_text()


def n_trials(folder):
    """How many configurations the store remembers, over all sets of queries."""
    record = json.loads((folder / "store/trials.json").read_text())
    return sum(len(entry["configurations"]) for entry in record["queries"].values())


def test_options_are_tuned_within_the_training_queries(folder, capsys):
    tune = "--tune inputs=rows --tune inputs=ranks"
    argv = f"train DIR/store --fuser logistic {tune} --test-size 0.5 --out DIR/tuned"
    assert run(argv, folder) == 0
    chosen = json.loads((folder / "tuned/selection.json").read_text())
    assert chosen["quality"].keys() == {"inputs=rows", "inputs=ranks"}
    assert f"training queries: {chosen['chosen']}" in capsys.readouterr().out
    assert run("fuse DIR/store --model DIR/tuned --out DIR/tuned.npy", folder) == 0
    tune = "--tune logistic.inputs=rows --tune logistic.inputs=ranks"
    argv = f"compare DIR/store --fusers logistic {tune} --folds 2 --resamples 99"
    seen = [n_trials(folder)]
    for _ in range(2):
        assert run(argv, folder) == 0
        seen.append(n_trials(folder))
    assert seen[1] == seen[2] == seen[0] + 1
    assert "on these queries" in capsys.readouterr().out


def test_a_bank_of_unlabelled_queries_is_used_and_kept_apart(folder, capsys):
    store = SimilarityStore.open(folder / "store")
    bank, rest = store.dataset.split(test_size=0.5, seed=0)
    split_store(store, bank.query_ids, folder / "bank")
    split_store(store, rest.query_ids, folder / "rest")
    fit = "train DIR/rest --fuser logistic --set inputs=restandardized"
    for argv, out in ((f"{fit} --out DIR/own", "own"), (f"{fit} --bank DIR/bank --out DIR/b", "b")):
        assert run(argv, folder) == 0
        assert run(f"fuse DIR/rest --model DIR/{out} --out DIR/{out}.npy", folder) == 0
    assert not np.allclose(np.load(folder / "own.npy"), np.load(folder / "b.npy"))
    compare = "compare DIR/rest --bank DIR/{} --fusers logistic --set logistic.inputs=columns"
    assert run(f"{compare.format('bank')} --folds 2 --resamples 99", folder) == 0
    for name, ids in (("labels", bank.query_ids), ("log", store.dataset.query_ids)):
        (folder / f"{name}.txt").write_text("\n".join(ids))
    lists = "--queries DIR/labels.txt --bank DIR/log.txt"  # of the same store, one in the other
    assert run(f"{fit.replace('DIR/rest', 'DIR/store')} {lists} --out DIR/c", folder) == 0
    assert run(f"compare DIR/store {lists} --fusers logistic --folds 2 --resamples 99", folder) == 0


def test_a_fuser_without_labels_is_trained_on_a_store_without_targets(folder, capsys):
    images = folder / "unlabelled" / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in "abcdef":
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{name}.png")
    texts = ("red", "left", "blue", "a large one", "top", "green", "small", "right")
    rows = [
        {"query_id": f"q{i}", "reference": "abcdef"[i % 6], "text": text, "targets": []}
        for i, text in enumerate(texts)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "unlabelled" / "queries.jsonl").write_text(lines)
    for name in ("scenes-color", "scenes-layout"):
        argv = f"score folder:DIR/unlabelled --provider {name} --store DIR/blind"
        assert run(argv, folder) == 0
    capsys.readouterr()
    assert run("train DIR/blind --fuser logistic --out DIR/no", folder) == 2
    assert "no training query has a target" in capsys.readouterr().err
    assert run("train DIR/blind --fuser debiased --set topics=0.4 --out DIR/free", folder) == 0
    assert run("fuse DIR/blind --model DIR/free --out DIR/free.npy", folder) == 0
    by_hand = DebiasedFusion(topics=0.4)
    stack = SimilarityStore.open(folder / "blind").stack()
    np.testing.assert_array_equal(
        np.load(folder / "free.npy"), by_hand.fit(stack).fuse(stack).scores
    )


def test_rules_on_held_out_queries_get_the_bank_that_the_fuser_gets(folder, capsys):
    store = SimilarityStore.open(folder / "store")
    bank, rest = store.dataset.split(test_size=0.5, seed=1)
    split_store(store, bank.query_ids, folder / "bank-of-rules")
    split_store(store, rest.query_ids, folder / "labelled")
    argv = "train DIR/labelled --fuser light --set network=linear --test-size 0.5 --out DIR/banked"
    values = {}
    for flags in ("", " --bank DIR/bank-of-rules"):
        assert run(argv + flags, folder) == 0
        lines = capsys.readouterr().out.splitlines()
        values[flags] = next(line for line in lines if line.strip().startswith("debiased "))
    assert len(set(values.values())) == 2


def test_train_fuse_and_import_the_run_again(folder, capsys):
    assert run("train DIR/store --fuser mean --test-size 0.5 --out DIR/mean", folder) == 0
    text = capsys.readouterr().out
    assert "the reference image with the queries the fusion was fitted on" in text
    assert "voting-rrf" in text  # the other rules, tuned on the same queries
    assert run("fuse DIR/store --model DIR/mean --out DIR/run.npy", folder) == 0
    scores = np.load(folder / "run.npy")
    assert scores.shape[0] == len((folder / "run.queries.txt").read_text().split())
    for suffix in ("trec", "parquet"):
        argv = f"fuse DIR/store --model DIR/mean --out DIR/run.{suffix} --depth 7"
        assert run(argv, folder) == 0
    argv = "import DIR/run.trec --provider fused --store DIR/copy --dataset scenes"
    assert run(f"{argv} --dataset-set families=24", folder) == 0
    assert "lists of 7" in capsys.readouterr().out


def test_the_gate_falls_back_and_says_why(folder, capsys):
    argv = "train DIR/store --fuser logistic --gate --folds 2 --out DIR/gated"
    assert run(argv, folder) == 0
    reason = json.loads((folder / "gated" / "gate.json").read_text())
    saved = json.loads((folder / "gated" / "fuser.json").read_text())
    assert reason["reason"] in capsys.readouterr().out
    assert saved["fuser"] == ("best-single" if reason["action"] == "stay" else reason["name"])
    assert run("train DIR/store --fuser mean --out DIR/gated", folder) == 0
    assert not (folder / "gated" / "gate.json").exists(), "it was said of another fuser"


def test_scoring_again_is_nothing_to_do(folder):
    before = (folder / "store" / "scenes-color" / "scores.npy").stat().st_mtime_ns
    assert run(SCORE.format("scenes-color"), folder) == 0
    assert (folder / "store" / "scenes-color" / "scores.npy").stat().st_mtime_ns == before


def test_check_counts_what_ran(capsys):
    assert main(["check", "mean"]) == 0
    assert "checks" in capsys.readouterr().out


def test_new_plugin_writes_a_package(tmp_path, capsys):
    assert main(["new-plugin", "mine", "--out", str(tmp_path)]) == 0
    assert "pip install -e" in capsys.readouterr().out
    assert (tmp_path / "dafm-plugin-mine" / "pyproject.toml").exists()
