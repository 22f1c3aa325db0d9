"""Score with both models at released size and random weights: time, memory, throughput.

    python plugins/dafm-plugin-covr/tests/benchmarks/real_size.py --images 4

Needs 2 GB of disk for ``blip``, and 10 for ``blip2``, whose two files both hold an EVA ViT-g.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dafm_plugin_covr.provider import load_blip, load_blip2

from dafm_core.testing.real_size import Variant, main, words
from dafm_core.wrapping.blip.random_weights import linear, text_shapes, vision_shapes
from dafm_core.wrapping.blip2.random_weights import eva_shapes, qformer_shapes
from dafm_core.wrapping.clip.random_weights import random_state


def write_blip(folder: Path) -> dict[str, Any]:
    """Write CoVR-BLIP: ViT-L/16 at 384 pixels."""
    import torch

    shapes = [
        *vision_shapes(width=1024, n_layers=24, side=24),
        *text_shapes(vision_width=1024),
        *linear("vision_proj", 256, 1024),
        *linear("text_proj", 256, 768),
    ]
    torch.save({"epoch": 1, "model": random_state(shapes, seed=0)}, folder / "covr.ckpt")
    return {"checkpoint": str(folder / "covr.ckpt"), "vocabulary": words(folder)}


def write_blip2(folder: Path) -> dict[str, Any]:
    """Write CoVR-2, and BLIP-2 with the same image encoder at 364 pixels."""
    import torch

    frozen = [
        *eva_shapes(width=1408, mlp=6144, n_layers=39, side=26),
        *linear("vision_proj", 256, 768),
    ]
    trained = [
        ("query_tokens", (1, 32, 768)),
        *qformer_shapes(vision_width=1408),
        *linear("text_proj", 256, 768),
    ]
    state = random_state([*frozen, *trained], seed=0)
    torch.save({"epoch": 1, "model": state}, folder / "covr.ckpt")
    state |= random_state([*trained, *linear("itm_head", 2, 768)], seed=1)
    torch.save({"model": state}, folder / "blip2.pth")
    return {
        "checkpoint": str(folder / "covr.ckpt"),
        "gallery_checkpoint": str(folder / "blip2.pth"),
        "vocabulary": words(folder),
    }


def load(loader: Callable[..., Any], **options: Any) -> Any:
    """Return a provider of options that JSON has carried."""
    files = {k: Path(v) for k, v in options.items() if k.endswith("checkpoint")}
    return loader(**options | files)


if __name__ == "__main__":
    main(
        __doc__,
        {
            "blip": Variant(write=write_blip, load=partial(load, load_blip)),
            "blip2": Variant(write=write_blip2, load=partial(load, load_blip2)),
        },
    )
