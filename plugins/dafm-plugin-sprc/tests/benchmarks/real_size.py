"""Score with SPRC at released size and random weights: time, memory against a bound, throughput.

    python plugins/dafm-plugin-sprc/tests/benchmarks/real_size.py --variants clip --images 64

Each variant is written in the released layout (2.7, 1.5 and 3.5 GB) to a temporary folder, loaded
through the provider in a process of its own, and deleted. The bound on peak memory, mapped pages of
the file included, is 1.25 times the bytes of the loaded model plus 1 GiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEXTS = 64
PER_REFERENCE = 4  # CIRR val asks about 4 queries of a reference in one block


def write(variant: str, path: Path) -> None:
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
    torch.save({"epoch": 1, entry: state}, path)


def measure(variant: str, folder: Path, n_images: int, dtype: str) -> dict[str, float | str]:
    """Load and score in this process."""
    import numpy as np
    from dafm_plugin_sprc.provider import load_sprc, load_sprc_spn
    from PIL import Image

    from dafm_core.contract.items import ImageRef
    from dafm_core.testing import queries_of

    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    words = [special.get(i, f"word{i}") for i in range(30522)]
    (folder / "vocab.txt").write_text("\n".join(words))
    rng = np.random.default_rng(0)
    images = []
    for i in range(n_images):
        path = folder / f"{i}.jpg"
        Image.fromarray(rng.integers(0, 256, (375, 500, 3), np.uint8)).save(path)
        images.append(ImageRef(str(i), path))
    start = time.perf_counter()
    provider = (load_sprc_spn if variant == "spn" else load_sprc)(
        checkpoint=folder / "model.pt", vocabulary=str(folder / "vocab.txt"), dtype=dtype
    )
    loaded = time.perf_counter()
    after_loading = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    gallery = provider.encode_gallery(images)
    encoded = time.perf_counter()
    references = [images[(i // PER_REFERENCE) % n_images] for i in range(TEXTS)]
    texts = [" ".join(rng.choice(words[2000:], 12)) for _ in range(TEXTS)]
    queries = provider.encode_queries(queries_of(references, texts))
    asked = time.perf_counter()
    scores = provider.similarity(queries, gallery)
    if not np.isfinite(scores).all():
        raise SystemExit(f"{variant}: scores are not finite")
    n_bytes = sum(p.numel() * p.element_size() for p in provider.network.parameters())
    return {
        "variant": f"{variant} {dtype}",
        "model_gib": n_bytes / 2**30,
        "load_s": loaded - start,
        "loaded_gib": after_loading,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "bound_gib": 1.25 * n_bytes / 2**30 + 1,
        "images_per_s": n_images / (encoded - loaded),
        "queries_per_s": TEXTS / (asked - encoded),
    }


def main() -> None:
    """Run every variant in processes of its own and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="+", default=["eva", "clip", "spn"])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        step, variant, folder = args.step
        if step == "write":
            write(variant, Path(folder) / "model.pt")
        else:
            print(json.dumps(measure(variant, Path(folder), args.images, args.dtypes[0])))
        return
    for variant in args.variants:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--images", str(args.images), "--step"]
            subprocess.run([*command, "write", variant, folder], check=True)
            for dtype in args.dtypes:
                step = [*command, "measure", variant, folder, "--dtypes", dtype]
                done = subprocess.run(step, check=True, stdout=subprocess.PIPE, text=True)
                row = json.loads(done.stdout.splitlines()[-1])
                within = "within" if row["peak_gib"] <= row["bound_gib"] else "ABOVE"
                print(
                    f"{row['variant']}: model {row['model_gib']:.2f} GiB, "
                    f"load {row['load_s']:.1f} s, loaded {row['loaded_gib']:.2f} GiB, "
                    f"peak {row['peak_gib']:.2f} GiB ({within} {row['bound_gib']:.2f}), "
                    f"{row['images_per_s']:.2f} images/s, {row['queries_per_s']:.2f} queries/s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
