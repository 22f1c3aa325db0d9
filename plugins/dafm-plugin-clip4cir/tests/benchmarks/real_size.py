"""Time and memory of CLIP4CIR at its released size (RN50x4), with random weights, on the CPU.

Writes both files in the released layout to a temporary folder, loads them in a fresh process
through the provider, and scores 64 images x 64 queries. The bound on peak memory is 1.25 times the
bytes of the model in its compute dtype plus 1 GiB.

    python plugins/dafm-plugin-clip4cir/tests/benchmarks/real_size.py VOCABULARY [key=value ...]

Further arguments are options of the provider, such as dtype=float16 or float16_rounding=true.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_ITEMS = 64


def write(folder: Path) -> None:
    import torch

    from dafm_core.wrapping.clip.random_weights import random_state, resnet_shapes, text_shapes

    shapes = [
        *text_shapes(width=640, n_layers=12, embed_dim=640),
        *resnet_shapes(width=80, n_blocks=(4, 6, 10, 6), side=9, embed_dim=640),
    ]
    torch.save({"epoch": 1, "CLIP": random_state(shapes, seed=0)}, folder / "clip.pt")
    sizes: dict[str, tuple[int, ...]] = {
        "text_projection_layer": (2560, 640),
        "image_projection_layer": (2560, 640),
        "combiner_layer": (5120, 5120),
        "output_layer": (640, 5120),
        "dynamic_scalar.0": (5120, 5120),
        "dynamic_scalar.3": (1, 5120),
    }
    parts = [(f"{key}.weight", shape) for key, shape in sizes.items()]
    parts += [(f"{key}.bias", shape[:1]) for key, shape in sizes.items()]
    torch.save({"epoch": 1, "Combiner": random_state(parts, seed=1)}, folder / "combiner.pt")
    write_images(folder)


def write_images(folder: Path) -> None:
    from PIL import Image

    generator = np.random.default_rng(0)
    for i in range(N_ITEMS):
        pixels = generator.integers(0, 256, (480, 640, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png", compress_level=1)


def score(folder: Path, vocabulary: str, given: dict[str, str]) -> None:
    from dafm_plugin_clip4cir.plugin import dafm_similarity_providers

    from dafm_core.contract.descriptions import parse_options
    from dafm_core.contract.items import ImageRef
    from dafm_core.testing import queries_of

    info = dafm_similarity_providers()[0]
    files = {"checkpoint": str(folder / "clip.pt"), "combiner": str(folder / "combiner.pt")}
    options = parse_options(info.options, given | files | {"vocabulary": vocabulary}, where="")
    from dafm_plugin_clip4cir.provider import load

    start = time.perf_counter()
    provider = load(**options)
    loaded = time.perf_counter()
    images = [ImageRef(str(i), folder / f"{i}.png") for i in range(N_ITEMS)]
    gallery = provider.encode_gallery(images)
    encoded = time.perf_counter()
    texts = [f"the same as picture {i}, but with two dogs in the snow" for i in range(N_ITEMS)]
    queries = provider.encode_queries(queries_of(images, texts))
    done = time.perf_counter()
    assert np.isfinite(provider.similarity(queries, gallery)).all()
    network = provider.network
    n_bytes = sum(p.nbytes for p in (*network.parameters(), *network.buffers()))
    report(n_bytes, loaded - start, N_ITEMS / (encoded - loaded), N_ITEMS / (done - encoded))


def report(n_bytes: int, load_s: float, images_s: float, queries_s: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB -> GiB
    bound = 1.25 * n_bytes / 2**30 + 1
    print(
        f"model {n_bytes / 2**30:.2f} GiB, load {load_s:.1f} s, peak {peak:.2f} GiB of "
        f"{bound:.2f} allowed, {images_s:.1f} images/s, {queries_s:.1f} queries/s (image included)"
    )
    sys.exit(peak > bound)


def main() -> None:
    vocabulary, *rest = sys.argv[1:]
    if rest and rest[0] == "--score":
        score(Path(rest[1]), vocabulary, dict(pair.split("=", 1) for pair in rest[2:]))
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        command = [sys.executable, __file__, vocabulary, "--score", folder, *rest]
        sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
