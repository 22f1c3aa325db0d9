"""Every command that writes, as an action on a folder: what makes the folder ready, what is done.

Each ends with an exception where the command would end with an exit code other than 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.conftest import DotProvider
from tests.faults.killing import files_below
from tests.faults.real_kills import make_dataset

Action = Callable[[Path], None]
Result = Callable[[Path], Mapping[str, Any]]


@dataclass(frozen=True)
class Command:
    """Something that writes.

    Parameters
    ----------
    action : callable
        The command, on a folder.
    before : tuple of callable
        What makes the folder ready.
    result : callable
        What must be as it is after the command undisturbed.
    """

    action: Action
    before: tuple[Action, ...] = ()
    result: Result = files_below


def score(store: Path, *, name: str = "dot", seed: int = 0, overwrite: bool = False) -> None:
    """Score with features and neighbours, in blocks of three queries."""
    from dafm_core.scoring.score import score_provider

    score_provider(
        make_dataset(), name, DotProvider(seed), store=store, block_rows=3, overwrite=overwrite
    )


def two(folder: Path) -> None:
    """Score two providers into one store."""
    score(folder / "store")
    score(folder / "store", name="other", seed=1)


def _import(folder: Path) -> None:
    from dafm_core.formats.importing import import_scores
    from dafm_core.store.store import SimilarityStore

    rows = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    np.save(folder / "mine.npy", rows)
    import_scores(SimilarityStore.open(folder / "store"), "mine", folder / "mine.npy")


def _split(folder: Path) -> None:
    from dafm_core.store.editing import split_store
    from dafm_core.store.store import SimilarityStore

    split_store(SimilarityStore.open(folder / "store"), ("q0", "q1", "q2", "q3"), folder / "a")
    split_store(SimilarityStore.open(folder / "store"), ("q4", "q5", "q6"), folder / "b")


def _merge(folder: Path) -> None:
    from dafm_core.store.editing import merge_stores
    from dafm_core.store.store import SimilarityStore

    merge_stores([SimilarityStore.open(folder / part) for part in "ab"], folder / "merged")


def _pairs(folder: Path) -> None:
    from dafm_core.scoring.pairs import score_pairs
    from dafm_core.scoring.shortlists import shortlist_of
    from dafm_core.store.store import SimilarityStore

    asked = shortlist_of(SimilarityStore.open(folder / "store"), "union:2", name="pairs")
    store = folder / "store"
    score_pairs(make_dataset(), "pairs", Verifier(), store=store, candidates=asked)


class Verifier:
    """A pair provider whose scores are lengths."""

    fingerprint: Final = {"seed": "0"}

    def score_pairs(self, queries: Any, candidates: Any) -> list[Any]:
        """Return an array of scores per query."""
        pairs = zip(queries, candidates, strict=True)
        return [np.array([len(q.text) + ord(i.id[-1]) for i in images]) for q, images in pairs]


def _old(folder: Path) -> None:
    from tests.faults.test_kills import as_format_1

    as_format_1(folder / "store", make_dataset())


def _upgrade(folder: Path) -> None:
    from dafm_core.store.upgrade import upgrade

    upgrade(folder / "store")


def _import_run(folder: Path) -> None:
    from dafm_core.formats.importing import import_scores
    from dafm_core.store.store import SimilarityStore

    import_scores(SimilarityStore.open(folder / "store"), "listed", folder / "fused.trec")


def train(folder: Path, fuser: str = "weighted") -> None:
    """Fit a rule to the store."""
    cli("train", folder / "store", "--fuser", fuser, "--out", folder / "model")


def fuse(folder: Path, suffix: str = ".npy", *more: object) -> None:
    """Fuse the store by the model."""
    out = folder / f"fused{suffix}"
    cli("fuse", folder / "store", "--model", folder / "model", "--out", out, *more)


def _fuse_some(folder: Path) -> None:
    (folder / "some.txt").write_text("q5\nq2\n")
    fuse(folder, ".npy", "--queries", folder / "some.txt")


def compare(folder: Path, fusers: str = "mean,weighted") -> None:
    """Compare on the store, into a file of every kind."""
    exports = ("json", "csv", "markdown", "latex", "per-query", "report")
    suffixes = {"per-query": "parquet", "report": "html"}
    files = [(f"--{e}", folder / f"compared.{suffixes.get(e, e)}") for e in exports]
    words = ("--fusers", fusers, "--folds", 2, "--resamples", 50)
    cli("compare", folder / "store", *words, *(word for pair in files for word in pair))


def _cirr(folder: Path) -> None:
    """Score a split that a test server takes, and train on it."""
    from dafm_core.datasets.base import Dataset
    from dafm_core.datasets.query_frame import query_frame
    from dafm_core.ground.ids import Ids
    from dafm_core.scoring.score import score_provider

    ids = Ids(f"dev-{i}" for i in range(60))
    rows = [
        {
            "query_id": str(n),
            "reference": ids[n],
            "text": f"text {n}",
            "targets": [ids[n + 1]],
            "subset": list(ids[n : n + 6]),
            "excluded": [ids[n]],
        }
        for n in range(5)
    ]
    queries = query_frame(rows, where="toy")
    dataset = Dataset(protocol="cirr-val", gallery_ids=ids, queries=queries)
    for seed, name in enumerate(("dot", "other")):
        score_provider(dataset, name, DotProvider(seed), store=folder / "store")
    train(folder)


def _submit(folder: Path) -> None:
    cli("submit", "cirr", folder / "store", "--model", folder / "model", "--out", folder / "server")


def models() -> dict[str, Any]:
    """Return the providers of the index."""
    return {"dot": DotProvider(0), "other": DotProvider(1)}


def _index(folder: Path) -> None:
    from dafm_core.search.building import build_index

    dataset = make_dataset()
    build_index(folder / "index", dataset, models(), bank=dataset)


def _add(folder: Path) -> None:
    from dafm_core.ground.ids import Ids
    from dafm_core.search.building import add_images
    from dafm_core.search.sources import Images

    add_images(folder / "index", Images(ids=Ids(["i7", "i8"])), providers=models())


def _remove(folder: Path) -> None:
    from dafm_core.search.building import remove_images

    remove_images(folder / "index", ["i1", "i2"], providers=models())


def _judge(folder: Path) -> None:
    from dafm_core.search.index import GalleryIndex
    from dafm_core.serve.judging import Judgements

    kept = Judgements(folder / "judged.jsonl", GalleryIndex.open(folder / "index"))
    for image, mark in (("i1", "meant"), ("i2", "not"), ("i1", "none")):
        kept.add(["i0"], f"like {image}", image, mark)


def _judged(folder: Path) -> dict[str, Any]:
    """Return what counts of the judgements; a repeated one is another line, and changes nothing."""
    from dafm_core.datasets.judgements import latest, read

    header, lines = read(folder / "judged.jsonl")
    return {"marks": latest(lines), "index": header["index"]}


def cli(*words: object) -> None:
    """Run a command in this process; raise where it ends with another exit code than 0."""
    from dafm_core.cli.main import main

    if main([str(word) for word in words]):
        raise RuntimeError("the command failed")


_one = (lambda f: score(f / "store"),)
_fused = (two, train)

ACTIONS: Final[Mapping[str, Command]] = {
    "score into a new store": Command(lambda f: score(f / "store")),
    "score a second provider": Command(lambda f: score(f / "store", name="other", seed=1), _one),
    "score over a finished matrix": Command(
        lambda f: score(f / "store", seed=1, overwrite=True), _one
    ),
    "score pairs": Command(_pairs, (two,)),
    "import into a store": Command(_import, _one),
    "import a run": Command(_import_run, (*_fused, lambda f: fuse(f, ".trec"))),
    "upgrade": Command(_upgrade, (two, _old)),
    "split": Command(_split, (two,)),
    "merge": Command(_merge, (two, _split)),
    "train over a model": Command(train, (two, lambda f: train(f, "mean"))),
    "fuse to npy": Command(fuse, _fused),
    "fuse other queries over npy": Command(_fuse_some, (*_fused, fuse)),
    "fuse to TREC": Command(lambda f: fuse(f, ".trec"), _fused),
    "fuse to parquet": Command(lambda f: fuse(f, ".parquet"), _fused),
    "compare into six files": Command(compare, (two, lambda f: compare(f, "mean"))),
    "submit": Command(_submit, (_cirr,)),
    "index": Command(_index),
    "index --add": Command(_add, (_index,)),
    "index --remove": Command(_remove, (_index,)),
    "judge": Command(_judge, (_index,), _judged),
}
"""By what they do."""
