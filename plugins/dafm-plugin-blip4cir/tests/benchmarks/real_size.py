"""Score with both BLIP4CIR models at released size and random weights: time, memory, throughput.

    python plugins/dafm-plugin-blip4cir/tests/benchmarks/real_size.py --images 64

Each variant is written in the released layout (0.9 to 3 GB) to a temporary folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from dafm_plugin_blip4cir.provider import load, load_bi

from dafm_core.testing.real_size import Variant, main, words
from dafm_core.wrapping.blip.random_weights import Shapes, linear, text_shapes, vision_shapes
from dafm_core.wrapping.clip.random_weights import random_state

WIDTH = 768


def write(variant: str, folder: Path) -> dict[str, str]:
    """Save random weights in the released layout."""
    options = {"checkpoint": str(folder / "checkpoint.pt"), "vocabulary": words(folder)}
    if variant == "grounded":
        save(folder / "checkpoint.pt", "BLIP_Retrieval", [*blip(side=24), ("temp", ())])
        return options
    save(folder / "checkpoint.pt", "model", [*blip(side=14), *blip(side=14, momentum="_m")])
    text = [*text_shapes(vision_width=WIDTH), *linear("text_proj", 256, WIDTH)]
    moments = {
        i: {"exp_avg": t, "exp_avg_sq": t}
        for i, t in enumerate(random_state(text, seed=1).values())
    }
    optimizer = {"optimizer_state_dict": {"state": moments}}
    save(folder / "text_encoder.pt", "BLIPTextEncoder", text, **optimizer)
    combiner = [
        *linear("text_projection_layer", 2560, 256),
        *linear("image_projection_layer", 2560, 256),
        *linear("combiner_layer", 5120, 5120),
        *linear("output_layer", 256, 5120),
        *linear("dynamic_scalar.0", 5120, 5120),
        *linear("dynamic_scalar.3", 1, 5120),
    ]
    save(folder / "combiner.pt", "Combiner", combiner)
    return options | {n: str(folder / f"{n}.pt") for n in ("text_encoder", "combiner")}


def blip(*, side: int, momentum: str = "") -> Shapes:
    """Yield both encoders with their projections."""
    yield from vision_shapes(
        width=WIDTH, n_layers=12, side=side, prefix=f"visual_encoder{momentum}."
    )
    yield from linear(f"vision_proj{momentum}", 256, WIDTH)
    yield from text_shapes(vision_width=WIDTH, prefix=f"text_encoder{momentum}.")
    yield from linear(f"text_proj{momentum}", 256, WIDTH)


def save(
    path: Path, entry: str, shapes: Iterable[tuple[str, tuple[int, ...]]], **more: Any
) -> None:
    """Save random weights of these shapes as one entry of a checkpoint."""
    import torch

    torch.save({"epoch": 1, entry: random_state(shapes, seed=0), **more}, path)


def load_files(loader: Callable[..., Any], vocabulary: str, **options: Any) -> Any:
    """Return the provider of options that JSON has carried."""
    paths = {k: Path(v) for k, v in options.items() if str(v).endswith(".pt")}
    return loader(vocabulary=vocabulary, **options | paths)


if __name__ == "__main__":
    loaders = {"grounded": load, "bi": load_bi}
    main(
        __doc__,
        {
            name: Variant(write=partial(write, name), load=partial(load_files, loader))
            for name, loader in loaders.items()
        },
    )
