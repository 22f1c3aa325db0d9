"""What a model of its released size costs: seconds to load, peak memory, images/s, queries/s.

On a CPU seconds are those of the processor, all threads together, which other work on the machine
changes little. On another device they are those of the clock, as the processor waits; everything
is then encoded once before it is timed, since the first pass also chooses and loads kernels.

For the benchmarks of plugins that wrap a model: they write files of random weights in the released
layout, and hand over how to write and how to load them. Each step runs in a process of its own, so
that the memory of one is not counted with the next. Never run by a test at real size.
"""

# ruff: noqa: T201, S603  # a command: it prints, and starts itself

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dafm_core.contract.items import ImageRef
from dafm_core.ground.platform import peak_memory_bytes
from dafm_core.testing.samples import queries_of

PER_REFERENCE = 4
"""CIRR val asks about four queries of a reference in one block."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One model at its real size.

    Parameters
    ----------
    write : callable
        Folder, and the file that the command line names if there is one -> options of ``load`` as
        JSON takes them; writes the files that they name.
    load : callable
        Options -> provider.
    network : callable
        Provider -> the network, an ``nn.Module``, whose parameters count as the model.
    """

    write: Callable[..., dict[str, Any]]
    load: Callable[..., Any]
    network: Callable[[Any], Any] = lambda provider: provider.network


def main(
    description: str | None, variants: Mapping[str, Variant], *, file: str | None = None
) -> None:
    """Measure the variants that the command line names and print a line for each.

    ``file`` is what the command line calls a file that every ``write`` needs.

    The bound on peak memory is 1.25 times the model in the type it computes in, plus 1 GiB; pages
    of the file that are mapped count. Ends with status 1 if one needs more, on a CPU: the libraries
    of a GPU alone take more.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    if file is not None:
        parser.add_argument(file)
    parser.add_argument("--variants", nargs="+", choices=list(variants), default=list(variants))
    parser.add_argument("--images", type=int, default=16, help="to encode; as many queries are")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu", help="with a GPU its peak memory is printed too")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode images")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    needed = [] if file is None else [getattr(given, file)]
    if given.step:
        step, name, folder = given.step
        if step == "write":
            options = variants[name].write(Path(folder), *needed)
            (Path(folder) / "options.json").write_text(json.dumps(options))
        else:
            options = {"device": given.device, "dtype": given.dtype, "workers": given.workers}
            row = measure(variants[name], Path(folder), n_images=given.images, **options)
            print(json.dumps(row))
        return
    too_large = False
    for name in given.variants:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, sys.argv[0], *needed, "--images", str(given.images)]
            command += ["--dtype", given.dtype, "--device", given.device]
            command += ["--workers", str(given.workers), "--step"]
            subprocess.run([*command, "write", name, folder], check=True)
            done = subprocess.run(
                [*command, "measure", name, folder], check=True, stdout=subprocess.PIPE, text=True
            )
        row = json.loads(done.stdout.splitlines()[-1])
        too_large |= given.device == "cpu" and row["peak GiB"] > row["bound"]
        print(name, *(f"{key} {value:.2f}" for key, value in row.items()), sep=" | ", flush=True)
    sys.exit(too_large)


def measure(
    variant: Variant, folder: Path, *, n_images: int, device: str = "cpu", **settings: Any
) -> dict[str, float]:
    """Load and score in this process; return seconds, GiB and rates."""
    options = json.loads((folder / "options.json").read_text())
    images = pictures(folder, n_images)
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    provider = variant.load(**options, device=device, **settings)
    loaded = clock()
    texts = [f"the same as picture {i}, but with two dogs in the snow" for i in range(n_images)]
    if device != "cpu":  # under other names: some providers keep what they read of an image
        others = [ImageRef(f"first {image.id}", image.path) for image in images]
        provider.encode_gallery(others)
        provider.encode_queries(queries_of(_references(others), texts))
    ready = clock()
    gallery = provider.encode_gallery(images)
    encoded = clock()
    queries = provider.encode_queries(queries_of(_references(images), texts))
    asked = clock()
    if not np.isfinite(provider.similarity(queries, gallery)).all():
        raise SystemExit("expected finite scores")
    size = sum(p.numel() * p.element_size() for p in variant.network(provider).parameters()) / 2**30
    row = {
        "size GiB": size,
        "load s": loaded - start,
        "peak GiB": peak_memory_bytes() / 2**30,
        "bound": 1.25 * size + 1,
        "images/s": n_images / (encoded - ready),
        "queries/s": n_images / (asked - encoded),
    }
    return row if device == "cpu" else row | {"GPU GiB": _peak_on_gpu(device)}


def _references(images: list[ImageRef]) -> list[ImageRef]:
    return [images[i // PER_REFERENCE] for i in range(len(images))]


def _peak_on_gpu(device: str) -> float:
    import torch

    return torch.cuda.max_memory_allocated(device) / 2**30


def pictures(folder: Path, n_images: int) -> list[ImageRef]:
    """Write noise of the size of photographs, 640 x 480, and return it as a gallery."""
    from PIL import Image

    rng, images = np.random.default_rng(0), []
    for i in range(n_images):
        path = folder / f"{i}.jpg"
        Image.fromarray(rng.integers(0, 256, (480, 640, 3), np.uint8)).save(path)
        images.append(ImageRef(str(i), path))
    return images


def words(folder: Path, n_words: int = 30_522) -> str:
    """Write a word-piece vocabulary of the size of BERT's, without its meaning; return its path."""
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    path = folder / "vocab.txt"
    path.write_text("\n".join(special.get(i, f"word{i}") for i in range(n_words)))
    return str(path)
