"""Score with models of released sizes and random weights: time, memory, throughput.

    python plugins/dafm-plugin-clip/tests/benchmarks/real_size.py VOCABULARY --images 16

VOCABULARY holds CLIP's merges, such as ``bpe_simple_vocab_16e6.txt.gz``. ``clip-b32`` and
``clip-l14`` are read by ``clip`` as both rows added; the others map a reference to a word of a
ViT-L/14.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from dafm_plugin_clip.provider import load_lincir, load_pic2word, load_searle
from dafm_plugin_clip.unimodal import load

from dafm_core.testing.real_size import Variant, main
from dafm_core.wrapping.blip.random_weights import linear
from dafm_core.wrapping.clip.random_weights import random_state, text_shapes, vit_shapes

WIDTH = 768
"""Of the features and of the token embeddings of a ViT-L/14."""


def write_clip(is_large: bool, folder: Path, vocabulary: str) -> dict[str, Any]:
    """Write a CLIP as transformers saves it, ViT-B/32 or L/14."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    from dafm_core.wrapping.clip.tokenizer import byte_symbols, read_merges

    width, vision_width = (768, 1024) if is_large else (512, 768)
    towers: list[dict[str, Any]] = [
        {
            "hidden_size": n,
            "intermediate_size": 4 * n,
            "num_attention_heads": n // 64,
            "num_hidden_layers": depth,
        }
        for n, depth in ((width, 12), (vision_width, 24 if is_large else 12))
    ]
    towers[1]["patch_size"] = 14 if is_large else 32
    config = CLIPConfig(text_config=towers[0], vision_config=towers[1], projection_dim=width)
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    merges, letters = read_merges(vocabulary, "benchmark"), byte_symbols()
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    known = {piece: i for i, piece in enumerate(pieces)}
    CLIPTokenizer(vocab=known, merges=merges).save_pretrained(folder)
    return {"model": str(folder)}


def write_phi(name: str, folder: Path, vocabulary: str) -> dict[str, Any]:
    """Write phi and its CLIP as released: in one file, or beside a folder of transformers."""
    import torch

    options: dict[str, Any] = {"checkpoint": str(folder / f"{name}.pt"), "vocabulary": vocabulary}
    if name == "pic2word":
        shapes = [
            *text_shapes(width=WIDTH, n_layers=12, embed_dim=WIDTH),
            *vit_shapes(width=1024, n_layers=24, patch=14, side=16, embed_dim=WIDTH),
        ]
        phi = [*linear("layers.0.0", 512, WIDTH), *linear("layers.1.0", 512, 512)]
        phi += linear("fc_out", WIDTH, 512)
        content = {"epoch": 1, "state_dict": random_state(shapes, seed=0)}
        content["state_dict_img2text"] = random_state(phi, seed=1)
    else:
        hidden = 4 * WIDTH
        phi = [*linear("layers.0", hidden, WIDTH), *linear("layers.3", hidden, hidden)]
        content = {"Phi": random_state([*phi, *linear("layers.6", WIDTH, hidden)], seed=1)}
        options |= write_clip(True, folder, vocabulary)
    torch.save(content, options["checkpoint"])
    return options


VARIANTS = {
    f"clip-{name}": Variant(
        write=partial(write_clip, is_large),
        load=partial(load, compose="rows"),
        network=lambda provider: provider.embedder.towers.model,
    )
    for name, is_large in (("b32", False), ("l14", True))
} | {
    name: Variant(write=partial(write_phi, name), load=load_phi)
    for name, load_phi in {
        "pic2word": load_pic2word,
        "searle": load_searle,
        "lincir": load_lincir,
    }.items()
}


if __name__ == "__main__":
    main(__doc__, VARIANTS, file="vocabulary")
