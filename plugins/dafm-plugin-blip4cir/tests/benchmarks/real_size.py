"""Score with both BLIP4CIR models at released size and random weights: time, memory, throughput.

    python plugins/dafm-plugin-blip4cir/tests/benchmarks/real_size.py --images 64

Each variant is written in the released layout (0.9 to 3 GB) to a temporary folder, loaded through
the provider in a process of its own, and deleted. The bound on peak memory, mapped pages of the
file included, is 1.25 times the bytes of the loaded model plus 1 GiB.
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

VARIANTS = ("grounded", "bi")
TEXTS = 64
PER_REFERENCE = 4  # CIRR val asks about 4 queries of a reference in one block


def write(variant: str, folder: Path) -> None:
    """Save random weights in the released layout."""
    import torch

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
        return
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


def measure(variant: str, folder: Path, n_images: int, dtype: str) -> dict[str, float | str]:
    """Load and score in this process."""
    import numpy as np
    from dafm_plugin_blip4cir.provider import load, load_bi
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
    options = {"checkpoint": folder / "checkpoint.pt", "vocabulary": str(folder / "vocab.txt")}
    if variant == "bi":
        options |= {name: folder / f"{name}.pt" for name in ("text_encoder", "combiner")}
    start = time.perf_counter()
    provider = (load if variant == "grounded" else load_bi)(dtype=dtype, **options)
    loaded = time.perf_counter()
    after_loading = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    gallery = provider.encode_gallery(images)
    encoded = time.perf_counter()
    references = [images[(i // PER_REFERENCE) % n_images] for i in range(TEXTS)]
    texts = [" ".join(rng.choice(words[2000:], 12)) for _ in range(TEXTS)]
    queries = provider.encode_queries(queries_of(references, texts))
    asked = time.perf_counter()
    if not np.isfinite(provider.similarity(queries, gallery)).all():
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
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        step, variant, folder = args.step
        if step == "write":
            write(variant, Path(folder))
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
