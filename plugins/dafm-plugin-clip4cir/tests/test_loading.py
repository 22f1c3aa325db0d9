"""Released files: what is read of them, what is rounded, and files that are wrong."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dafm_plugin_clip4cir.loading import load_clip, load_combiner
from torch import Tensor

from dafm_core.errors import ProviderError
from dafm_core.wrapping.clip.random_weights import (
    random_state,
    resnet_shapes,
    text_shapes,
    vit_shapes,
)

State = dict[str, Tensor]
TEXT = {"width": 64, "n_layers": 5, "embed_dim": 24, "n_tokens": 600, "context_length": 20}
VISION: dict[str, Any] = {
    "resnet": resnet_shapes(width=4, n_blocks=(1, 2, 11, 1), side=2, embed_dim=24),
    "vit": vit_shapes(width=128, n_layers=5, patch=7, side=3, embed_dim=24),
}
VISION = {name: list(shapes) for name, shapes in VISION.items()}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a state dict, changed where wanted, as the released file has it."""

    def save(state: Any, entry: str = "CLIP", **more: Any) -> Path:
        torch.save({"epoch": 1, entry: OrderedDict(state), **more}, tmp_path / "x.pt")
        return tmp_path / "x.pt"

    return save


def clip_state(kind: str = "resnet") -> State:
    return random_state([*text_shapes(**TEXT), *VISION[kind]], seed=3)


@pytest.mark.parametrize("kind", VISION)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_those_of_the_file(kind: str, prefix: str, write: Callable[..., Path]) -> None:
    state = clip_state(kind)
    clip = load_clip(write({prefix + key: value for key, value in state.items()}), "clip4cir")
    tensors = {**clip.vision.state_dict(), **clip.text.state_dict()}.values()
    stored = [t for key, t in state.items() if "in_proj" not in key and key != "logit_scale"]
    for tensor in stored:
        turned = (tensor, tensor.t()) if tensor.ndim == 2 else (tensor,)
        assert any(torch.equal(t, other) for t in tensors for other in turned)
    assert not any(t.is_meta or t.requires_grad for t in tensors)


def test_rounding_spares_norms_and_embeddings(write: Callable[..., Path]) -> None:
    for kind in ("resnet", "vit"):
        state = clip_state(kind)
        plain = load_clip(write(state), "clip4cir")
        rounded = load_clip(write(state), "clip4cir", float16_rounding=True)
        for tower in ("vision", "text"):
            before = getattr(plain, tower).state_dict()
            for key, tensor in getattr(rounded, tower).state_dict().items():
                spared = any(
                    part in key
                    for part in ("norm", "bn", "downsample.1", "embedding", "layrnorm", "ln_")
                ) and not key.endswith("patch_embedding.weight")
                expected = before[key] if spared else before[key].half().float()
                assert torch.equal(tensor, expected), key


def test_unexpected_tensors_and_entries_are_reported(
    write: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_clip(write(clip_state()), "clip4cir")
        assert not caplog.records
        load_clip(write(clip_state() | {"visual.extra": torch.ones(1)}, optimizer={}), "clip4cir")
    assert "1 tensors are not used: visual.extra" in caplog.text
    assert "1 entries are not used: optimizer" in caplog.text


RESHAPED = {
    "visual.layer2.0.conv2.weight": (8, 8, 3, 1),
    "visual.attnpool.positional_embedding": (6, 128),
    "visual.attnpool.c_proj.weight": (25, 128),
    "visual.layer1.0.conv1.weight": (4, 4),
    "transformer.resblocks.3.attn.in_proj_weight": (100, 64),
    "transformer.resblocks.3.attn.in_proj_bias": (),
    "token_embedding.weight": (600, 60),
    "text_projection": (64,),
    "positional_embedding": (20, 63),
    "ln_final.weight": (63,),
}


@pytest.mark.parametrize("key", RESHAPED)
def test_missing_and_reshaped_tensors_are_named(key: str, write: Callable[..., Path]) -> None:
    state = clip_state()
    for wrong in (
        {k: v for k, v in state.items() if k != key},
        state | {key: torch.zeros(RESHAPED[key])},
    ):
        with pytest.raises(ProviderError, match="clip4cir: checkpoint: expected") as caught:
            load_clip(write(wrong), "clip4cir")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{"epoch": 3, "state_dict": {}}, [], clip_state(), {"CLIP": 3}])
def test_other_layouts_are_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ProviderError, match=r"clip4cir: checkpoint: expected (an entry|a state)"):
        load_clip(tmp_path / "x.pt", "clip4cir")


def test_a_gap_in_the_layers_is_named(write: Callable[..., Path]) -> None:
    state = {k: v for k, v in clip_state().items() if ".resblocks.3." not in k}
    with pytest.raises(ProviderError, match=r"transformer\.resblocks\.0.* without a gap"):
        load_clip(write(state), "clip4cir")


def test_damaged_swapped_and_hostile_files_are_one_line(fixtures: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "made"),)

    whole = (fixtures / "checkpoint_clip.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    torch.save({"epoch": 1, "CLIP": Payload()}, tmp_path / "hostile.pt")
    for name, part in (("cut.pt", "damaged"), ("hostile.pt", "mkdir"), ("none.pt", "not exist")):
        with pytest.raises(ProviderError, match=part) as caught:
            load_clip(tmp_path / name, "clip4cir")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()
    with pytest.raises(ProviderError, match="'CLIP', got 2 entries"):
        load_clip(fixtures / "checkpoint_combiner.pt", "clip4cir")
    with pytest.raises(ProviderError, match="'Combiner', got 2 entries"):
        load_combiner(fixtures / "checkpoint_clip.pt", "clip4cir", embed_dim=48)
    with pytest.raises(ProviderError, match="width 640 as in the checkpoint, got 48"):
        load_combiner(fixtures / "checkpoint_combiner.pt", "clip4cir", embed_dim=640)
