"""Valid files of published datasets, images, checkpoints and indexes, each with its reader."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from tests.faults.real_kills import make_dataset

Inputs: TypeAlias = dict[str, tuple[Path, Callable[[], object]]]
"""A valid file and what reads it, by a name."""


def dataset_inputs(home: Path) -> Inputs:
    """Return the files of every published dataset, a few records each."""
    from dafm_core.datasets import circo, cirr, fashioniq, freedom, genecis, icir, mteb, pinpoint

    inputs: Inputs = {}

    def add(folder: Path, load: Callable[[], object], files: Mapping[str, Any]) -> None:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, pl.DataFrame):
                content.write_parquet(path)
            else:
                path.write_text(content if isinstance(content, str) else json.dumps(content))
            inputs[f"{folder.name} {path.name}"] = path, load

    members = [f"dev-{i}" for i in range(6)]
    pair = {
        "pairid": 10,
        "reference": members[0],
        "target_hard": members[1],
        "target_soft": {members[1]: 1.0, members[2]: -1.0},
        "caption": "add a dog",
        "img_set": {"id": 1, "members": members, "reference_rank": 0, "target_rank": 1},
    }
    split = {name: f"./dev/{name}.png" for name in members}
    files: dict[str, Any] = {
        "captions/cap.rc2.val.json": [pair, pair | {"pairid": 11}],
        "image_splits/split.rc2.val.json": split,
    }
    add(home / "cirr", lambda: cirr.load(home / "cirr"), files)
    others = {f"image_splits/split.rc2.{n}.json": {} for n in ("train", "test1")}
    add(home / "mteb", lambda: mteb.load_cirr(home / "mteb"), files | others)
    row = {"candidate": "a", "target": "b", "captions": ["is red", "has a collar"]}
    add(
        home / "fashioniq",
        lambda: fashioniq.load(home / "fashioniq", category="dress"),
        {
            "captions/cap.dress.val.json": [row],
            "image_splits/split.dress.val.json": ["a", "b", "c"],
        },
    )
    row = {
        "reference_img_id": 100,
        "target_img_id": 101,
        "relative_caption": "is held",
        "shared_concept": "a bear",
        "gt_img_ids": [101, 102],
        "id": 0,
        "semantic_aspects": ["cardinality"],
    }
    images = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in range(100, 105)]
    add(
        home / "circo",
        lambda: circo.load(home / "circo"),
        {
            "annotations/val.json": [row],
            "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json": {"images": images},
        },
    )
    box = {"image_id": 230, "instance_bbox": [4, 9, 60, 31]}
    row = {"condition": "wooden", "reference": box, "target": box | {"image_id": 7}}
    add(
        home / "genecis",
        lambda: genecis.load(home / "genecis", task="focus-attribute"),
        {"focus_attribute.json": [row | {"gallery": [box | {"image_id": 8}]}]},
    )
    lines = "owl/1.jpg,in snow,owl\nowl/2.jpg,,owl\n"
    add(
        home / "icir",
        lambda: icir.load(home / "icir"),
        {"query_files.csv": "q/1.jpg,in snow,owl\n", "database_files.csv": lines},
    )
    add(
        home / "freedom",
        lambda: freedom.load(home / "freedom", set="nico"),
        {
            "nico/query_files.csv": "nico/dim/cat/q.jpg dim cat\n",
            "nico/database_files.csv": "nico/dim/cat/1.jpg dim cat\nnico/rock/cat/2.jpg rock cat\n",
        },
    )
    row = {
        "query_id": "query_1",
        "query_image_signature": "aa",
        "query_image_signature2": "None",
        "instruction": "swap the lamp",
        "positive_candidates": ["bb"],
        "negative_candidates": ["cc"],
        "query_category": "Swap",
    }
    add(
        home / "pinpoint",
        lambda: pinpoint.load(home / "pinpoint"),
        {
            "pinpoint_licensed.parquet": pl.DataFrame([row]),
            "index_signatures.txt": "aa\nbb\ncc\n",
        },
    )
    return inputs


def server_inputs(home: Path) -> Inputs:
    """Return a file for CIRR's server, linted and scored; needs ``dataset_inputs`` in ``home``."""
    from dafm_core.datasets import cirr
    from dafm_core.evaluation.score_file import score_submission
    from dafm_core.formats.fitted import FusedBlocks, fitted_path, read_fitted
    from dafm_core.formats.lint import lint_submission
    from dafm_core.formats.submission import write_submission

    dataset = cirr.load(home / "cirr")
    rows = np.random.default_rng(0).standard_normal((dataset.n_queries, dataset.n_gallery))
    scores = [(dataset.query_ids, rows.astype(np.float32))]
    blocks = FusedBlocks(scores, frozenset(dataset.query_ids))
    path = home / "recall.json"
    write_submission(path, dataset, blocks, gallery_ids=dataset.gallery_ids, metric="recall_subset")
    return {
        "lint": (path, lambda: lint_submission(path, dataset)),
        "score-file": (path, lambda: score_submission(path, dataset, allow_fitted=True)),
        "fitted ids": (fitted_path(path), lambda: read_fitted(path)),
    }


def image_inputs(home: Path) -> Inputs:
    """Return an image of each format that is read."""
    from PIL import Image

    from dafm_core.contract.items import FORMATS, ImageRef

    home.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    inputs: Inputs = {}
    for kind in FORMATS:
        path = home / f"image.{kind.lower()}"
        settings = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
        Image.fromarray(noise).save(path, kind, **settings)
        inputs[f"image {kind}"] = path, lambda path=path: ImageRef("i", path).open()
    return inputs


def model_file_inputs(home: Path) -> Inputs:
    """Return files that plugins read: checkpoints, captions, vocabularies."""
    import torch

    from dafm_core.wrapping.caption_file import CaptionFile
    from dafm_core.wrapping.checkpoints import Weights, read_checkpoint
    from dafm_core.wrapping.wordpiece import read_wordpiece

    home.mkdir()
    tensors = {"a.weight": torch.ones(3, 2), "a.bias": torch.zeros(3)}
    new, old = home / "new.pt", home / "old.pt"
    torch.save({"state_dict": tensors, "epoch": 3, "args": {"lr": 0.1}}, new)
    torch.save({"state_dict": tensors}, old, _use_new_zipfile_serialization=False)

    def weights(path: Path) -> Weights:
        return Weights.from_content(read_checkpoint(path, "test"), "test", entry="state_dict")

    captions, words, tokenizer = (home / n for n in ("captions.json", "vocab.txt", "t.json"))
    captions.write_text(json.dumps({"i0": ["a dog", "a cat"], "i1": "a bird"}))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "##s", "a"]
    words.write_text("\n".join(vocabulary))
    numbered = {word: n for n, word in enumerate(vocabulary)}
    tokenizer.write_text(json.dumps({"model": {"type": "WordPiece", "vocab": numbered}}))
    return {
        "checkpoint": (new, lambda: weights(new)),
        "checkpoint of old torch": (old, lambda: weights(old)),
        "captions": (captions, lambda: CaptionFile.read(captions)),
        "vocabulary": (words, lambda: read_wordpiece(str(words), "test")),
        "tokenizer": (tokenizer, lambda: read_wordpiece(str(tokenizer), "test")),
    }


def kept_inputs(home: Path) -> Inputs:
    """Return what a store keeps beside its rows, and what a comparison can be repeated from; needs
    a store with the providers ``dot`` and ``other`` in ``home``.
    """
    from dafm_core.cli.main import build_parser
    from dafm_core.cli.repeating import said_before
    from dafm_core.evaluation.trials import TrialLog
    from dafm_core.fusion.light.fuser import LightFusion
    from dafm_core.store.labels import keep_labels, kept_labels
    from dafm_core.store.shortlist import Shortlist
    from dafm_core.store.store import SimilarityStore
    from tests.faults.campaigns.actions import cli

    store, dataset = home / "store", make_dataset()
    keep_labels(store, {"dot": "DOT"})
    log, light = TrialLog(store), LightFusion()
    log.add(dataset, [light], ["dot"], design="folds")
    opened = SimilarityStore.open(store)
    columns, scores = np.arange(3), np.array([3, 2, 1], np.float32)
    lists = Shortlist.of_lists([columns] * 7, [scores] * 7, 5)
    opened.write_shortlist("short", lists, passport={"source": "test"}, unknown="below")
    compared = home / "compared.json"
    cli(
        *("compare", store, "--providers", "dot,other", "--fusers", "mean", "--folds", "2"),
        *("--resamples", "50", "--json", compared),
    )
    repeat = build_parser("compare").parse_args(["--repeat", str(compared)])

    def short() -> object:
        found = SimilarityStore.open(store)
        return found.stack(["short"]), found.cost("dot")

    return {
        "labels": (store / "labels.json", lambda: kept_labels(store)),
        "trials": (
            store / "trials.json",
            lambda: log.add(dataset, [light], ["dot"], design="folds"),
        ),
        "cost": (store / "dot" / "cost.json", short),
        "shortlist": (store / "short" / "shortlist.parquet", short),
        "shortlist passport": (store / "short" / "passport.json", short),
        "compare --repeat": (compared, lambda: said_before(repeat)),
    }


def index_inputs(home: Path) -> Inputs:
    """Return every file of a gallery index, columns for it, and judgements made on it."""
    from dafm_core.datasets import judgements
    from dafm_core.fusion.static import WeightedFusion
    from dafm_core.search.building import build_index
    from dafm_core.search.index import GalleryIndex
    from dafm_core.search.requests import Request
    from dafm_core.search.search import Search
    from dafm_core.search.sources import read_columns
    from dafm_core.serve.judging import Judgements
    from dafm_core.store.store import SimilarityStore
    from tests.conftest import DotProvider
    from tests.faults.campaigns.actions import two

    home.mkdir()
    two(home)
    dataset = make_dataset()
    models = {"dot": DotProvider(0), "other": DotProvider(1)}
    fuser = WeightedFusion().fit(SimilarityStore.open(home / "store").stack())
    index = build_index(home / "index", dataset, models, bank=dataset)
    judged = home / "judged.jsonl"
    Judgements(judged, index).add(["i0"], "redder", "i1", "meant")

    def searched() -> object:
        opened = GalleryIndex.open(home / "index")
        opened.verify()
        found = Search(opened, fuser, providers=models)
        return found.batch([Request(text="text", k=2)])

    inputs: Inputs = {
        f"index {path.relative_to(home / 'index')}": (path, searched)
        for path in sorted((home / "index").rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
    table = pl.DataFrame({"image_id": ["i0", "i1"], "kind": ["a", "b"], "price": [1, 2]})
    table.write_csv(home / "columns.csv")
    table.write_ndjson(home / "columns.jsonl")
    table.write_parquet(home / "columns.parquet")
    for suffix in ("csv", "jsonl", "parquet"):
        path = home / f"columns.{suffix}"
        inputs[f"columns {suffix}"] = path, lambda path=path: read_columns(path)
    inputs["judgements"] = judged, lambda: judgements.load(judged, index=home / "index")
    inputs["judgements, served"] = judged, lambda: Judgements(judged, index)
    return inputs


def more_inputs(home: Path) -> Inputs:
    """Return all of them; ``home`` holds a store."""
    return {
        **dataset_inputs(home),
        **server_inputs(home),
        **image_inputs(home / "images"),
        **model_file_inputs(home / "models"),
        **kept_inputs(home),
        **index_inputs(home / "indexed"),
    }
