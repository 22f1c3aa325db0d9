"""Score with CLIP4CIR at its released size (RN50x4) and random weights: time, memory, throughput.

    python plugins/dafm-plugin-clip4cir/tests/benchmarks/real_size.py VOCABULARY --images 64

VOCABULARY holds CLIP's merges, such as ``bpe_simple_vocab_16e6.txt.gz``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dafm_plugin_clip4cir.provider import load

from dafm_core.testing.real_size import Variant, main
from dafm_core.wrapping.blip.random_weights import linear
from dafm_core.wrapping.clip.random_weights import random_state, resnet_shapes, text_shapes


def write(folder: Path, vocabulary: str) -> dict[str, Any]:
    """Write both files in the released layout."""
    import torch

    shapes = [
        *text_shapes(width=640, n_layers=12, embed_dim=640),
        *resnet_shapes(width=80, n_blocks=(4, 6, 10, 6), side=9, embed_dim=640),
    ]
    torch.save({"epoch": 1, "CLIP": random_state(shapes, seed=0)}, folder / "clip.pt")
    combiner = [
        *linear("text_projection_layer", 2560, 640),
        *linear("image_projection_layer", 2560, 640),
        *linear("combiner_layer", 5120, 5120),
        *linear("output_layer", 640, 5120),
        *linear("dynamic_scalar.0", 5120, 5120),
        *linear("dynamic_scalar.3", 1, 5120),
    ]
    torch.save({"epoch": 1, "Combiner": random_state(combiner, seed=1)}, folder / "combiner.pt")
    files = {"checkpoint": folder / "clip.pt", "combiner": folder / "combiner.pt"}
    return {name: str(path) for name, path in files.items()} | {"vocabulary": vocabulary}


def load_files(checkpoint: str, combiner: str, **options: Any) -> Any:
    """Return the provider of options that JSON has carried."""
    return load(checkpoint=Path(checkpoint), combiner=Path(combiner), **options)


if __name__ == "__main__":
    main(__doc__, {"clip4cir": Variant(write=write, load=load_files)}, file="vocabulary")
