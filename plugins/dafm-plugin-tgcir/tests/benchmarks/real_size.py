"""Score with TG-CIR at its released size (ViT-B/16) and random weights: time, memory, throughput.

    python plugins/dafm-plugin-tgcir/tests/benchmarks/real_size.py VOCABULARY --images 64

VOCABULARY holds CLIP's merges, such as ``bpe_simple_vocab_16e6.txt.gz``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafm_plugin_tgcir.provider import load

from dafm_core.testing.real_size import Variant, main
from dafm_core.wrapping.clip.random_weights import random_state, text_shapes, vit_shapes

if TYPE_CHECKING:
    from torch import Tensor, nn


def write(folder: Path, vocabulary: str) -> dict[str, Any]:
    """Write a pickled module as released."""
    import torch

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
    return {"checkpoint": str(folder / "CIRR.pt"), "vocabulary": vocabulary}


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


def load_file(checkpoint: str, **options: Any) -> Any:
    """Return the provider of options that JSON has carried."""
    return load(checkpoint=Path(checkpoint), **options)


if __name__ == "__main__":
    main(__doc__, {"tgcir": Variant(write=write, load=load_file)}, file="vocabulary")
