"""Score with models of today's sizes and random weights: load time, memory, throughput.

    python plugins/dafm-plugin-sentence-transformers/tests/benchmarks/real_size.py --images 16

Each model is made of its family's configuration classes, saved to a temporary folder, loaded
through ``st`` in a process of its own, and deleted. The bound on peak memory is 1.25 times the
weights plus 1 GiB. ``vlm-2b`` has the widths of a vision-language embedder of two billion
parameters, and ``--depth`` of its 28 layers; a layer takes what a layer takes.
"""

from __future__ import annotations

import argparse
import json
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TINY = runpy.run_path(str(Path(__file__).parents[1] / "conformance.py"))
BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
N_TEXTS = 32


def clip(folder: Path, vision: dict[str, Any], patch: int, width: int) -> Path:
    """Save a CLIP of a published size."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

    heads = vision["hidden_size"] // 64
    text = {**BASE, "hidden_size": width, "intermediate_size": 4 * width, "vocab_size": 49408}
    config = CLIPConfig(
        text_config={**text, "num_attention_heads": width // 64, "eos_token_id": 3},
        vision_config={**vision, "num_attention_heads": heads, "patch_size": patch},
        projection_dim=width,
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(CLIPImageProcessorPil(), TINY["tokenizer"](77)).save_pretrained(folder)
    return folder


def siglip2(folder: Path) -> Path:
    """Save SigLIP 2 base, patches of 16 pixels at 224."""
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipProcessor

    tower = {**BASE, "num_attention_heads": 12}
    config = SiglipConfig(
        text_config={**tower, "vocab_size": 256_000, "projection_size": 768},
        vision_config={**tower, "image_size": 224, "patch_size": 16},
    )
    SiglipModel(config).save_pretrained(folder)
    processor = SiglipProcessor(SiglipImageProcessorPil(), TINY["tokenizer"](64))
    processor.save_pretrained(folder)
    return folder


def vlm(folder: Path, depth: int) -> Path:
    """Save a vision-language embedder as wide as one of two billion parameters."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaModel,
        LlavaProcessor,
    )

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**LARGE, num_attention_heads=16, patch_size=14),
        text_config=LlamaConfig(
            hidden_size=2048,
            intermediate_size=6144,
            num_hidden_layers=depth,
            num_attention_heads=16,
            num_key_value_heads=8,
            vocab_size=151_936,
        ),
        image_token_index=4,
        vision_feature_select_strategy="full",
    )
    LlavaModel(config).save_pretrained(folder / "base")
    LlavaProcessor(
        CLIPImageProcessorPil(),
        TINY["tokenizer"](4096, padding_side="left"),
        patch_size=14,
        vision_feature_select_strategy="full",
        image_token="<image>",
        chat_template=TINY["TEMPLATE"],
        num_additional_image_tokens=1,
    ).save_pretrained(folder / "base")
    modules = [Transformer(str(folder / "base")), Pooling(2048, pooling_mode="lasttoken")]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder / "st"))
    return folder / "st"


def pictures(folder: Path, n_images: int) -> list[Any]:
    """Write photographs' sizes of noise; return them as a gallery."""
    import numpy as np
    from PIL import Image

    from dafm_core.contract.items import ImageRef

    rng, images = np.random.default_rng(0), []
    for number in range(n_images):
        path = folder / f"{number}.jpg"
        Image.fromarray(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(path)
        images.append(ImageRef(str(number), path))
    return images


def measure(model: str, n_images: int) -> dict[str, float]:
    """Return seconds, GiB and rates of one model, in this process."""
    from dafm_plugin_sentence_transformers.dense import load

    from dafm_core.contract.items import Query

    started = time.perf_counter()
    provider = load(model=model, device="cpu", batch_size=8)
    seconds = time.perf_counter() - started
    encoder = provider.embedder.model
    size = sum(p.numel() * p.element_size() for p in encoder.parameters()) / 2**30
    with tempfile.TemporaryDirectory() as folder:
        images = pictures(Path(folder), n_images)
        started = time.perf_counter()
        provider.encode_gallery(images)
        gallery = time.perf_counter() - started
        n_queries = min(N_TEXTS, n_images)
        queries = [
            Query(id=str(i), references=(images[i],), text="the same but red")
            for i in range(n_queries)
        ]
        started = time.perf_counter()
        provider.encode_queries(queries)
        asked = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "size GiB": size,
        "load s": seconds,
        "peak GiB": peak,
        "bound": 1.25 * size + 1,
        "images/s": n_images / gallery,
        "queries/s": n_queries / asked,
    }


def main() -> None:
    """Measure every model that is asked for."""
    variants = ("clip-b32", "clip-l14", "siglip2-base", "vlm-2b")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", choices=variants, default=variants)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--depth", type=int, default=2, help="layers of vlm-2b, of 28")
    parser.add_argument("--model", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.model:
        print(json.dumps(measure(arguments.model, arguments.images)))
        return
    makers = {
        "clip-b32": lambda folder: clip(folder, BASE, 32, 512),
        "clip-l14": lambda folder: clip(folder, LARGE, 14, 768),
        "siglip2-base": siglip2,
        "vlm-2b": lambda folder: vlm(folder, arguments.depth),
    }
    for variant in arguments.variants:
        with tempfile.TemporaryDirectory() as folder:
            made = makers[variant](Path(folder) / variant)
            command = [sys.executable, __file__, "--model", str(made)]
            done = subprocess.run(
                [*command, "--images", str(arguments.images)], capture_output=True, text=True
            )
        if done.returncode:
            sys.exit(done.stderr)
        row = json.loads(done.stdout.splitlines()[-1])
        print(
            variant, *(f"{name} {value:.2f}" for name, value in row.items()), sep=" | ", flush=True
        )


if __name__ == "__main__":
    main()
