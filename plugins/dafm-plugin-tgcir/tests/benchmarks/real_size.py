"""Time and memory of TG-CIR at its released size (ViT-B/16), with random weights, on the CPU.

Writes a pickled module as released to a temporary folder, loads them in a fresh process
through the provider, and scores 64 images x 64 queries. The bound on peak memory is 1.25 times the
bytes of the model in its compute dtype plus 1 GiB.

    python plugins/dafm-plugin-tgcir/tests/benchmarks/real_size.py VOCABULARY [key=value ...]

Further arguments are options of the provider, such as dtype=bfloat16 or batch_size=8.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

N_ITEMS = 64


def write(folder: Path) -> None:
    import torch

    from dafm_core.wrapping.clip.random_weights import random_state, text_shapes, vit_shapes

    dim, n_global, n_local = 512, 4, 8
    clip = [
        *text_shapes(width=512, n_layers=12, embed_dim=dim),
        *vit_shapes(width=768, n_layers=12, patch=16, side=14, embed_dim=dim),
    ]
    shapes = [(f"backbone.clip.{key}", shape) for key, shape in clip]
    shapes += [("backbone.masks.weight", (n_global, dim))]
    shapes += [("backbone.fc.weight", (dim, 768)), ("backbone.fc.bias", (dim,))]
    shapes += [("backbone.text_fc.weight", (dim, 512)), ("backbone.text_fc.bias", (dim,))]
    for s in range(n_local):
        at = f"backbone.tokenlearn.tokenizers.{s}.conv.0"
        shapes += [(f"{at}.weight", (1, dim, 1)), (f"{at}.bias", (1,))]
    shapes += [("s_remain_map.0.weight", (dim, 2 * dim)), ("s_remain_map.0.bias", (dim,))]
    shapes += [("s_remain_map.2.weight", (1, dim)), ("s_remain_map.2.bias", (1,))]
    state = random_state(shapes, seed=0)
    torch.save(_module(state), folder / "CIRR.pt")
    write_images(folder)


def _module(state: dict[str, Tensor]) -> nn.Module:
    """Return nested modules with these tensors, the vision tower twice, as released."""
    from torch import nn

    top = nn.Module()
    for key, tensor in state.items():
        *path, name = key.split(".")
        owner = top
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        owner.register_parameter(name, nn.Parameter(tensor))
    backbone = top.get_submodule("backbone")
    backbone.add_module("image_backbone", backbone.get_submodule("clip.visual"))
    return top


def write_images(folder: Path) -> None:
    from PIL import Image

    generator = np.random.default_rng(0)
    for i in range(N_ITEMS):
        pixels = generator.integers(0, 256, (480, 640, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png", compress_level=1)


def score(folder: Path, vocabulary: str, given: dict[str, str]) -> None:
    from dafm_plugin_tgcir.plugin import dafm_similarity_providers

    from dafm_core.contract.descriptions import parse_options
    from dafm_core.contract.items import ImageRef
    from dafm_core.testing import queries_of

    info = dafm_similarity_providers()[0]
    files = {"checkpoint": str(folder / "CIRR.pt")}
    options = parse_options(info.options, given | files | {"vocabulary": vocabulary}, where="")
    from dafm_plugin_tgcir.provider import load

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
