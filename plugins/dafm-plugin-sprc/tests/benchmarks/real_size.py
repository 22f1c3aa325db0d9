"""Score with SPRC at released size and random weights: time, memory, throughput.

    python plugins/dafm-plugin-sprc/tests/benchmarks/real_size.py --variants clip --images 64

Each variant is written in the released layout (2.7, 1.5 and 3.5 GB) to a temporary folder.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from dafm_plugin_sprc.provider import load_sprc, load_sprc_spn

from dafm_core.testing.real_size import Variant, main, words
from dafm_core.wrapping.blip.random_weights import Shapes, linear, norm
from dafm_core.wrapping.blip2.random_weights import eva_shapes, qformer_shapes
from dafm_core.wrapping.clip.random_weights import random_state, vit_shapes

EVA = {"width": 1408, "mlp": 6144, "n_layers": 39, "side": 16}
HALF = re.compile(
    r"^visual_encoder\.(patch_embed|conv1|.*\.(mlp|out_proj|attn\.proj)\.|.*qkv\.weight)"
)
"""What is released in float16: matrices of the image encoder, but for CLIP's ``in_proj``."""


def write(variant: str, folder: Path) -> dict[str, str]:
    """Save random weights in the released layout."""
    import torch

    width = 1024 if variant == "clip" else 1408
    shapes = [
        *(clip_shapes(width) if variant == "clip" else eva_shapes(**EVA)),
        *qformer_shapes(vision_width=width),
        *((tokens, (1, 32, 768)) for tokens in ("query_tokens", "prompt_tokens")),
        *linear("vision_proj", 256, 768),
        *linear("text_proj", 256, 768),
        *linear("itm_head", 2, 768),
        ("temp", ()),
    ]
    entry, prefix = "Blip2QformerCirAlignPrompt", ""
    if variant == "spn":
        shapes += [
            *qformer_shapes(vision_width=width, prefix="Qformer_query."),
            *linear("text_proj_q", 256, 768),
        ]
        entry, prefix = "state_dict", "blip_model."
    state = {
        prefix + key: value.half() if HALF.search(key) else value
        for key, value in random_state(shapes, seed=0).items()
    }
    torch.save({"epoch": 1, entry: state}, folder / "model.pt")
    return {"checkpoint": str(folder / "model.pt"), "vocabulary": words(folder)}


def clip_shapes(width: int) -> Shapes:
    """Yield the image encoder of CLIP ViT-L without its last block and what follows, and a norm."""
    shapes = vit_shapes(
        width=width, n_layers=23, patch=14, side=16, embed_dim=768, prefix="visual_encoder."
    )
    unused = ("visual_encoder.proj", "visual_encoder.ln_post")
    yield from ((key, shape) for key, shape in shapes if not key.startswith(unused))
    yield from norm("ln_vision", width)


def load_file(variant: str, checkpoint: str, **options: Any) -> Any:
    """Return the provider of options that JSON has carried."""
    load = load_sprc_spn if variant == "spn" else load_sprc
    return load(checkpoint=Path(checkpoint), **options)


if __name__ == "__main__":
    main(
        __doc__,
        {
            name: Variant(write=partial(write, name), load=partial(load_file, name))
            for name in ("eva", "clip", "spn")
        },
    )
