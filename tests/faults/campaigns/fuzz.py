"""Valid inputs of every reader, changed at random: a value, or one line that says what is wrong."""

from __future__ import annotations

import gzip
import json
import random
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from tests.faults.campaigns.actions import train, two
from tests.faults.campaigns.more_inputs import Inputs, more_inputs
from tests.faults.campaigns.outcome import Outcome
from tests.faults.real_kills import make_dataset

TOKENS = (
    *(b"", b"\0", b"\xff\xfe", b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'"', b"\n", b"\r"),
    *(
        b",",
        b"999999999999999999999",
        b"true",
        b"0x",
        b"\xed\xa0\x80",
        b"[" * 2000,
        b"'",
        b"\\ud800",
    ),
)


def valid_inputs(home: Path) -> Inputs:
    """Return a valid file and what reads it, by a name."""
    from dafm_core.core_plugin import FUSERS
    from dafm_core.datasets.folder import load
    from dafm_core.formats.id_files import read_id_file
    from dafm_core.formats.importing import import_scores
    from dafm_core.fusion.saving import load_fuser
    from dafm_core.ground.files import read_ids
    from dafm_core.store.store import SimilarityStore

    home.mkdir(parents=True)
    two(home)
    train(home)
    dataset = make_dataset()
    rows = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    queries, gallery = list(dataset.query_ids), list(dataset.gallery_ids)
    scores = {
        q: dict(zip(gallery, map(float, row), strict=True))
        for q, row in zip(queries, rows, strict=True)
    }
    cells = [(q, i, v) for q, line in scores.items() for i, v in line.items()]
    long = pl.DataFrame(cells, schema=["query_id", "image_id", "score"], orient="row")
    trec = "".join(
        f"{q} Q0 {i} {rank} {v} t\n"
        for q, line in scores.items()
        for rank, (i, v) in enumerate(sorted(line.items(), key=lambda c: -c[1]), 1)
    )
    files = home / "files"
    files.mkdir()
    np.save(files / "a.npy", rows)
    np.save(files / "o.npy", np.array(gallery, dtype=object))
    np.savez(
        files / "a.npz", scores=rows, query_ids=np.array(queries), gallery_ids=np.array(gallery)
    )
    (files / "a.json").write_text(json.dumps(scores))
    (files / "a.json.gz").write_bytes(gzip.compress(json.dumps(scores).encode()))
    (files / "a.trec").write_text(trec)
    long.write_csv(files / "a.csv")
    long.write_parquet(files / "a.parquet")
    from safetensors.numpy import save_file

    save_file({"scores": rows}, files / "a.safetensors", metadata={"query_ids": ",".join(queries)})
    import torch

    torch.save({"scores": torch.from_numpy(rows), "names": queries}, files / "a.pt")
    store = SimilarityStore.open(home / "store")

    def importing(path: Path) -> Callable[[], object]:
        return lambda: import_scores(store, "fuzz", path, overwrite=True)

    inputs: Inputs = {
        f"import {path.name}": (path, importing(path))
        for path in sorted(files.iterdir())
        if path.name != "o.npy"
    }
    (files / "ids.txt").write_text("\n".join(gallery))
    (files / "ids.json").write_text(json.dumps(gallery))
    inputs["ids.txt"] = files / "ids.txt", lambda: read_ids(files / "ids.txt")
    inputs["ids.json"] = files / "ids.json", lambda: read_id_file(files / "ids.json")
    inputs["ids npy"] = files / "o.npy", lambda: read_id_file(files / "o.npy")
    lines = [
        {
            "query_id": q,
            "text": f"more {q}",
            "reference": "i0",
            "targets": ["i1"],
            "subset": ["i1", "i2"],
        }
        for q in queries
    ]
    for suffix in ("jsonl", "csv", "parquet"):
        folder = home / f"folder-{suffix}"
        folder.mkdir()
        (folder / "gallery.txt").write_text("\n".join(gallery))
        table = folder / f"queries.{suffix}"
        if suffix == "jsonl":
            table.write_text("".join(json.dumps(line) + "\n" for line in lines))
        elif suffix == "csv":
            flat = [
                {k: "|".join(v) if isinstance(v, list) else v for k, v in line.items()}
                for line in lines
            ]
            pl.DataFrame(flat).write_csv(table)
        else:
            pl.DataFrame(lines).write_parquet(table)
        inputs[f"folder {suffix}"] = table, lambda folder=folder: load(folder)
    for name in (
        "store.json",
        "queries.parquet",
        "gallery.parquet",
        "dot/passport.json",
        "dot/scores.npy",
        "dot/neighbours.npy",
    ):
        inputs[f"store {name}"] = (
            home / "store" / name,
            lambda: SimilarityStore.open(home / "store").stack(),
        )
    for name in ("fuser.json", "weights.safetensors"):
        inputs[f"model {name}"] = (
            home / "model" / name,
            lambda: load_fuser(home / "model", infos=FUSERS),
        )
    return inputs


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Return the content with one to four changes: bits, tokens, parts cut, doubled or moved."""
    data = bytearray(content)
    for _ in range(draw.randrange(1, 5)):
        place = draw.randrange(len(data) + 1)
        length = draw.choice((1, 2, 8, 64))
        match draw.randrange(5):
            case 0 if place < len(data):
                data[place] ^= 1 << draw.randrange(8)
            case 1:
                del data[place : place + length]
            case 2:
                data[place : place + length] = draw.choice(TOKENS)
            case 3:
                data[place:place] = data[place : place + length]
            case _:
                other = draw.randrange(len(data) + 1)
                data[place : place + length] = data[other : other + length]
    return bytes(data)


def fuzz(home: Path, *, n_inputs: int, seed: int = 0) -> Outcome:
    """Give every reader changed inputs in turn; to be run in a child."""
    from dafm_core.errors import DafmError

    inputs = {**valid_inputs(home), **more_inputs(home)}
    outcome = Outcome(f"{len(inputs)} readers", "one to four random changes of a valid file")
    draw, names = random.Random(seed), list(inputs)
    for number in range(n_inputs):
        name = names[number % len(names)]
        path, read = inputs[name]
        whole = path.read_bytes()
        path.write_bytes(mutated(whole, draw))
        try:
            read()
            outcome.add("survived", name)
        except DafmError as error:
            verdict = "survived" if "\n" not in str(error) else "tracebacks"
            outcome.add(verdict, f"{name}: {str(error)[:200]!r}")
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            outcome.add(
                "tracebacks", f"{name}: {type(error).__name__} {where} {str(error)[:120]!r}"
            )
        finally:
            path.write_bytes(whole)
    return outcome
