"""Score with both BLIP4CIR models at released size and random weights: time, memory, throughput.

    python plugins/dafm-plugin-blip4cir/tests/benchmarks/real_size.py --images 64

Each variant is written in the released layout (0.9 to 3 GB) to a temporary folder.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dafm_plugin_blip4cir.provider import load, load_bi

from dafm_core.testing.real_size import Variant, main, words


def write(variant: str, folder: Path) -> dict[str, str]:
    """Save random weights in the released layout."""
    import torch

    options = {"checkpoint": str(folder / "checkpoint.pt"), "vocabulary": words(folder)}
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def add(name: str, *shape: int) -> None:
        if "norm" in name.lower():
            state[name] = torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
        else:
            state[name] = torch.randn(shape, generator=generator).mul_(0.02)

    def linear(name: str, rows: int, columns: int) -> None:
        add(f"{name}.weight", rows, columns)
        add(f"{name}.bias", rows)

    def norm(name: str) -> None:
        add(f"{name}.weight", 768)
        add(f"{name}.bias", 768)

    def vision(root: str, projection: str, positions: int) -> None:
        add(f"{root}.cls_token", 1, 1, 768)
        add(f"{root}.pos_embed", 1, positions, 768)
        add(f"{root}.patch_embed.proj.weight", 768, 3, 16, 16)
        add(f"{root}.patch_embed.proj.bias", 768)
        for i in range(12):
            block = f"{root}.blocks.{i}"
            norm(f"{block}.norm1")
            norm(f"{block}.norm2")
            linear(f"{block}.attn.qkv", 2304, 768)
            linear(f"{block}.attn.proj", 768, 768)
            linear(f"{block}.mlp.fc1", 3072, 768)
            linear(f"{block}.mlp.fc2", 768, 3072)
        norm(f"{root}.norm")
        linear(projection, 256, 768)

    def text(root: str, projection: str) -> None:
        state[f"{root}.embeddings.position_ids"] = torch.arange(512).unsqueeze(0)
        add(f"{root}.embeddings.word_embeddings.weight", 30524, 768)
        add(f"{root}.embeddings.position_embeddings.weight", 512, 768)
        norm(f"{root}.embeddings.LayerNorm")
        for i in range(12):
            layer = f"{root}.encoder.layer.{i}"
            for kind in ("attention", "crossattention"):
                for part in ("query", "key", "value"):
                    linear(f"{layer}.{kind}.self.{part}", 768, 768)
                linear(f"{layer}.{kind}.output.dense", 768, 768)
                norm(f"{layer}.{kind}.output.LayerNorm")
            linear(f"{layer}.intermediate.dense", 3072, 768)
            linear(f"{layer}.output.dense", 768, 3072)
            norm(f"{layer}.output.LayerNorm")
        linear(projection, 256, 768)

    def save(name: str, entry: str, **more: object) -> None:
        torch.save({"epoch": 1, entry: dict(state), **more}, folder / name)
        state.clear()

    if variant == "grounded":
        vision("visual_encoder", "vision_proj", 577)
        text("text_encoder", "text_proj")
        add("temp")
        save("checkpoint.pt", "BLIP_Retrieval")
        return options
    for momentum in ("", "_m"):
        vision(f"visual_encoder{momentum}", f"vision_proj{momentum}", 197)
        text(f"text_encoder{momentum}", f"text_proj{momentum}")
    save("checkpoint.pt", "model")
    text("text_encoder", "text_proj")
    moments = {
        i: {"exp_avg": t.float(), "exp_avg_sq": t.float()} for i, t in enumerate(state.values())
    }
    save("text_encoder.pt", "BLIPTextEncoder", optimizer_state_dict={"state": moments})
    for name in ("text_projection_layer", "image_projection_layer"):
        linear(name, 2560, 256)
    linear("combiner_layer", 5120, 5120)
    linear("output_layer", 256, 5120)
    linear("dynamic_scalar.0", 5120, 5120)
    linear("dynamic_scalar.3", 1, 5120)
    save("combiner.pt", "Combiner")
    return options | {n: str(folder / f"{n}.pt") for n in ("text_encoder", "combiner")}


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
