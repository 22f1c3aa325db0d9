"""How each provider of this plugin loads for core's conformance suite: on tiny files.

CLIP's merges are not in the repository: texts are spelt letter by letter instead.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest

from dafm_core.testing.device import DEVICE
from dafm_core.testing.recorded import restore_checkpoints
from dafm_core.wrapping.clip import tokenizer

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = ("pic2word", "searle", "lincir")
SIDE = 16
_TOWER = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Return the ``--set`` options of every provider, by name; files go to ``folder``."""
    monkeypatch.setattr(tokenizer, "read_merges", lambda vocabulary, where: [])
    options = {"clip": {"model": str(tiny("clip", folder / "model")), "device": DEVICE}}
    for name in NAMES:
        write_case(name, folder / name)
        options[name] = {"checkpoint": str(folder / name / "checkpoint.pt"), "device": DEVICE}
        if name != "pic2word":
            options[name] |= {"model": str(folder / name / "clip")}
    return options


def write_case(name: str, folder: Path) -> None:
    """Write the checkpoints of a recorded case, and its CLIP as a folder."""
    (folder / "clip").mkdir(parents=True)
    restore_checkpoints(FIXTURES / name / "checkpoints.npz", folder)
    if name != "pic2word":
        (folder / "pytorch_model.bin").rename(folder / "clip" / "pytorch_model.bin")
        shutil.copy(FIXTURES / name / "config.json", folder / "clip")


def tiny(kind: str, folder: Path, *, words: Iterable[str] = (), context: int = 16) -> Path:
    """Save a tiny model of ``transformers`` with random weights: clip, siglip, siglip2 or text.

    It reads texts of ``context`` tokens; what is not among ``words`` is unknown to it.
    """
    import torch
    import transformers as library

    fast = _tokenizer(library, words, context)
    text: dict[str, Any] = {**_TOWER, "vocab_size": len(fast), "max_position_embeddings": context}
    text |= {"eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0, "projection_size": 16}
    vision: dict[str, Any] = {**_TOWER, "image_size": SIDE, "patch_size": 8}
    square = {"height": SIDE, "width": SIDE}
    torch.manual_seed(0)
    model: Any
    processor: Any = None
    if kind == "clip":
        config = library.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
        model = library.CLIPModel(config)
        processor = library.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=square)
    elif kind == "siglip":
        model = library.SiglipModel(library.SiglipConfig(text_config=text, vision_config=vision))
        processor = library.SiglipImageProcessorPil(size=square)
    elif kind == "siglip2":
        patches = {**_TOWER, "num_patches": 16, "patch_size": 8}
        model = library.Siglip2Model(library.Siglip2Config(text_config=text, vision_config=patches))
        processor = library.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    else:
        model = library.BertModel(library.BertConfig(**_TOWER, vocab_size=99))
    with torch.no_grad():
        for parameter in model.parameters():  # far from where they start: features must differ
            parameter.add_(torch.randn_like(parameter) / 4)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    return folder


def _tokenizer(library: Any, known: Iterable[str], context: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<pad>", "<unk>", "<s>", "</s>", *ascii_lowercase, "red", "more", "dress"]
    words += sorted({*known} - {*words})
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return library.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=context, **special
    )
