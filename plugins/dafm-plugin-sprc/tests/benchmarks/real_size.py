"""Score with SPRC at released size and random weights: time, memory, throughput.

    python plugins/dafm-plugin-sprc/tests/benchmarks/real_size.py --variants clip --images 64

Each variant is written in the released layout (2.7, 1.5 and 3.5 GB) to a temporary folder.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from dafm_plugin_sprc.provider import load_sprc, load_sprc_spn

from dafm_core.testing.real_size import Variant, main, words


def write(variant: str, folder: Path) -> dict[str, str]:
    """Save random weights in the released layout."""
    import torch

    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def add(name: str, *shape: int, half: bool = False) -> None:
        if "norm" in name.lower() or ".ln_" in name or name.startswith("ln_"):
            value = torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
        else:
            value = torch.randn(shape, generator=generator).mul_(0.02)
        state[name] = value.half() if half else value

    def linear(name: str, rows: int, columns: int, *, half: bool = False) -> None:
        add(f"{name}.weight", rows, columns, half=half)
        add(f"{name}.bias", rows, half=half)

    def norm(name: str, width: int) -> None:
        add(f"{name}.weight", width)
        add(f"{name}.bias", width)

    def eva(width: int = 1408, mlp: int = 6144, depth: int = 39) -> None:
        add("visual_encoder.cls_token", 1, 1, width)
        add("visual_encoder.pos_embed", 1, 257, width)
        add("visual_encoder.patch_embed.proj.weight", width, 3, 14, 14, half=True)
        add("visual_encoder.patch_embed.proj.bias", width, half=True)
        for i in range(depth):
            block = f"visual_encoder.blocks.{i}"
            norm(f"{block}.norm1", width)
            norm(f"{block}.norm2", width)
            add(f"{block}.attn.q_bias", width)
            add(f"{block}.attn.v_bias", width)
            add(f"{block}.attn.qkv.weight", 3 * width, width, half=True)
            linear(f"{block}.attn.proj", width, width, half=True)
            linear(f"{block}.mlp.fc1", mlp, width, half=True)
            linear(f"{block}.mlp.fc2", width, mlp, half=True)

    def clip(width: int = 1024, depth: int = 23) -> None:
        add("visual_encoder.class_embedding", width)
        add("visual_encoder.positional_embedding", 257, width)
        add("visual_encoder.conv1.weight", width, 3, 14, 14, half=True)
        norm("visual_encoder.ln_pre", width)
        for i in range(depth):
            block = f"visual_encoder.transformer.resblocks.{i}"
            norm(f"{block}.ln_1", width)
            norm(f"{block}.ln_2", width)
            add(f"{block}.attn.in_proj_weight", 3 * width, width)
            add(f"{block}.attn.in_proj_bias", 3 * width)
            linear(f"{block}.attn.out_proj", width, width, half=True)
            linear(f"{block}.mlp.c_fc", 4 * width, width, half=True)
            linear(f"{block}.mlp.c_proj", width, 4 * width, half=True)

    def qformer(root: str, vision: int, width: int = 768, mlp: int = 3072) -> None:
        state[f"{root}.bert.embeddings.position_ids"] = torch.arange(512).unsqueeze(0)
        add(f"{root}.bert.embeddings.word_embeddings.weight", 30523, width)
        add(f"{root}.bert.embeddings.position_embeddings.weight", 512, width)
        norm(f"{root}.bert.embeddings.LayerNorm", width)
        for i in range(12):
            layer = f"{root}.bert.encoder.layer.{i}"
            for kind in ("attention", "crossattention")[: 2 - i % 2]:
                seen = vision if kind == "crossattention" else width
                linear(f"{layer}.{kind}.self.query", width, width)
                linear(f"{layer}.{kind}.self.key", width, seen)
                linear(f"{layer}.{kind}.self.value", width, seen)
                linear(f"{layer}.{kind}.output.dense", width, width)
                norm(f"{layer}.{kind}.output.LayerNorm", width)
            for part in ("", "_query"):
                linear(f"{layer}.intermediate{part}.dense", mlp, width)
                linear(f"{layer}.output{part}.dense", width, mlp)
                norm(f"{layer}.output{part}.LayerNorm", width)
        head = f"{root}.cls.predictions"
        state[f"{head}.decoder.weight"] = state[f"{root}.bert.embeddings.word_embeddings.weight"]
        add(f"{head}.bias", 30523)

    width = 1024 if variant == "clip" else 1408
    (clip if variant == "clip" else eva)()
    norm("ln_vision", width)
    qformer("Qformer", width)
    for tokens in ("query_tokens", "prompt_tokens"):
        add(tokens, 1, 32, 768)
    for projection in ("vision_proj", "text_proj"):
        linear(projection, 256, 768)
    linear("itm_head", 2, 768)
    add("temp")
    entry = "Blip2QformerCirAlignPrompt"
    if variant == "spn":
        qformer("Qformer_query", width)
        linear("text_proj_q", 256, 768)
        state, entry = {f"blip_model.{key}": value for key, value in state.items()}, "state_dict"
    torch.save({"epoch": 1, entry: state}, folder / "model.pt")
    return {"checkpoint": str(folder / "model.pt"), "vocabulary": words(folder)}


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
