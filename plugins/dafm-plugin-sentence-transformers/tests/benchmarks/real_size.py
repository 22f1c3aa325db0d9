"""Score with models of today's sizes and random weights: load time, memory, throughput.

    python plugins/dafm-plugin-sentence-transformers/tests/benchmarks/real_size.py --images 16

Each model is made of its family's configuration classes, saved to a temporary folder and loaded
through ``st``. ``vlm-2b`` has the widths of a vision-language embedder of two billion parameters
and 28 layers, ``vlm-2b-2`` 2 of these layers; a layer takes what a layer takes.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dafm_plugin_sentence_transformers.dense import load

from dafm_core.testing.real_size import Variant, main

TINY = runpy.run_path(str(Path(__file__).parents[1] / "conformance.py"))
BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}


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


def write(save: Callable[[Path], Path], folder: Path) -> dict[str, Any]:
    """Return the options of a model that is saved."""
    return {"model": str(save(folder / "model")), "batch_size": 8}


if __name__ == "__main__":
    makers: dict[str, Callable[[Path], Path]] = {
        "clip-b32": lambda folder: clip(folder, BASE, 32, 512),
        "clip-l14": lambda folder: clip(folder, LARGE, 14, 768),
        "siglip2-base": siglip2,
        "vlm-2b-2": partial(vlm, depth=2),
        "vlm-2b": partial(vlm, depth=28),
    }
    main(
        __doc__,
        {
            name: Variant(
                write=partial(write, save),
                load=load,
                network=lambda provider: provider.embedder.model,
            )
            for name, save in makers.items()
        },
    )
