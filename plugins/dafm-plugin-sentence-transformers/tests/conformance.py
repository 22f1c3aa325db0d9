"""Tiny models of the kinds that this plugin loads, made with the libraries' own classes, and how
each provider loads for core's conformance suite.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dafm_core.testing.device import DEVICE

WORDS = [
    *("a", "red", "blue", "car", "dog", "cat", "is", "the", "with", "instead", "of", "same"),
    *("object", "from", "behind", "them", "more", "and", "sleeves", "formal", "remove", "two"),
    *("zoom", "out", "has", "longer", "shows", "not", "user", "system", "query", "document"),
]
SPECIALS = ["<pad>", "<unk>", "<s>", "</s>", "<image>"]
SIDE = 16
CAPTIONS = {f"image-{i}": [f"a {word} car", "the same object"] for i, word in enumerate(WORDS[:5])}
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {% for c in m.content %}{% if c.type == 'image' %}<image> "
    "{% else %}{{ c.text }} {% endif %}{% endfor %}</s> {% endfor %}"
)
_TOWER = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def tokenizer(max_length: int, **settings: Any) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([*SPECIALS, *dict.fromkeys(WORDS)])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", 2), ("</s>", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=["<image>"],
        model_max_length=max_length,
        **settings,
    )


def _pictures() -> Any:
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )


def clip(folder: Path) -> Path:
    """Save a CLIP: texts and images apart."""
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor

    fast = tokenizer(16)
    text = {**_TOWER, "vocab_size": len(fast), "max_position_embeddings": 16, "eos_token_id": 3}
    config = CLIPConfig(
        text_config={**text, "bos_token_id": 2, "pad_token_id": 0},
        vision_config={**_TOWER, "image_size": SIDE, "patch_size": 8},
        projection_dim=12,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(_pictures(), fast).save_pretrained(folder)
    return folder


def _llava(folder: Path) -> Any:
    import torch
    from sentence_transformers.base.modules import Transformer
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaModel,
        LlavaProcessor,
    )

    fast = tokenizer(256, padding_side="left")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**_TOWER, image_size=SIDE, patch_size=8),
        text_config=LlamaConfig(**_TOWER, vocab_size=len(fast), num_key_value_heads=1),
        image_token_index=4,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    processor = LlavaProcessor(
        _pictures(),
        fast,
        patch_size=8,
        vision_feature_select_strategy="full",
        image_token="<image>",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )
    torch.manual_seed(1)
    LlavaModel(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return Transformer(str(folder))


def joint(folder: Path, **settings: Any) -> Path:
    """Save a dense model that takes text and images as one input."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    modules = [_llava(folder / "base"), Pooling(16, pooling_mode="lasttoken")]
    prompts = {"query": "more formal ", "document": ""}
    model = SentenceTransformer(modules=modules, device=DEVICE, prompts=prompts, **settings)
    model.save_pretrained(str(folder / "dense"))
    return folder / "dense"


def multivector(folder: Path) -> Path:
    """Save a late-interaction model over text and images."""
    import torch
    from sentence_transformers import MultiVectorEncoder

    _llava(folder / "base")
    torch.manual_seed(2)
    model = MultiVectorEncoder(str(folder / "base"), device=DEVICE)
    model.save_pretrained(str(folder / "multivector"))
    return folder / "multivector"


def reranker(folder: Path) -> Path:
    """Save a cross-encoder over text and images."""
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import Pooling

    base = _llava(folder / "base")
    torch.manual_seed(3)
    head = Dense(
        16,
        1,
        module_input_name="sentence_embedding",
        module_output_name="scores",
        activation_function=torch.nn.Identity(),
    )
    model = CrossEncoder(modules=[base, Pooling(16, pooling_mode="lasttoken"), head], device=DEVICE)
    model.save_pretrained(str(folder / "reranker"))
    return folder / "reranker"


def text_reranker(folder: Path, n_labels: int = 1) -> Path:
    """Save a cross-encoder over pairs of texts."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    fast = tokenizer(64)
    config = BertConfig(**_TOWER, vocab_size=len(fast), num_labels=n_labels)
    torch.manual_seed(4)
    BertForSequenceClassification(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Return the ``--set`` options of every provider, by name; files it needs go to ``folder``."""
    makers = {"st": joint, "st-multivector": multivector, "st-reranker": reranker}
    (folder / "captions.json").write_text(json.dumps(CAPTIONS))
    return {
        name: {"model": str(make(folder / name)), "device": DEVICE} for name, make in makers.items()
    }
