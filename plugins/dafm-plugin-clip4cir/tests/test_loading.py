"""Released files: towers of every kind and size against the formulas, and files that are wrong."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dafm_plugin_clip4cir.clip.random_weights import (
    random_state,
    resnet_shapes,
    text_shapes,
    vit_shapes,
)
from dafm_plugin_clip4cir.loading import load_clip, load_combiner
from torch import Tensor
from torch.nn import functional as f

from dafm_core.errors import ProviderError

State = dict[str, Tensor]
N_LAYERS = 12  # in the order of strings 10 and 11 would come before 2


def heads(t: Tensor) -> Tensor:
    return t.view(*t.shape[:-1], -1, 64).transpose(1, 2)


def blocks(state: State, prefix: str, x: Tensor, mask: Tensor | None) -> Tensor:
    """The pre-norm transformer of the specification, on the state dict itself."""
    for i in range(N_LAYERS):
        at = f"{prefix}.resblocks.{i}"
        y = f.layer_norm(x, x.shape[-1:], state[f"{at}.ln_1.weight"], state[f"{at}.ln_1.bias"])
        qkv = y @ state[f"{at}.attn.in_proj_weight"].T + state[f"{at}.attn.in_proj_bias"]
        q, k, v = (heads(t) for t in qkv.chunk(3, dim=-1))
        scores = q @ k.transpose(-1, -2) / 8 + (0 if mask is None else mask)
        y = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + y @ state[f"{at}.attn.out_proj.weight"].T + state[f"{at}.attn.out_proj.bias"]
        y = f.layer_norm(x, x.shape[-1:], state[f"{at}.ln_2.weight"], state[f"{at}.ln_2.bias"])
        z = y @ state[f"{at}.mlp.c_fc.weight"].T + state[f"{at}.mlp.c_fc.bias"]
        z = z * (1.702 * z).sigmoid()
        x = x + z @ state[f"{at}.mlp.c_proj.weight"].T + state[f"{at}.mlp.c_proj.bias"]
    return x


def text_oracle(state: State, ids: Tensor) -> Tensor:
    x = state["token_embedding.weight"][ids] + state["positional_embedding"]
    n = ids.shape[1]
    x = blocks(state, "transformer", x, torch.full((n, n), -torch.inf).triu(1))
    x = f.layer_norm(x, x.shape[-1:], state["ln_final.weight"], state["ln_final.bias"])
    return x[torch.arange(len(ids)), ids.argmax(-1)] @ state["text_projection"]


def vit_oracle(state: State, pixels: Tensor) -> Tensor:
    state = {key.removeprefix("visual."): value for key, value in state.items()}
    patch = state["conv1.weight"].shape[-1]
    x = f.conv2d(pixels, state["conv1.weight"], stride=patch).flatten(2).transpose(1, 2)
    first = state["class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([first, x], 1) + state["positional_embedding"]
    x = f.layer_norm(x, x.shape[-1:], state["ln_pre.weight"], state["ln_pre.bias"])
    x = blocks(state, "transformer", x, None)[:, 0]
    x = f.layer_norm(x, x.shape[-1:], state["ln_post.weight"], state["ln_post.bias"])
    return x @ state["proj"]


def resnet_oracle(state: State, pixels: Tensor) -> Tensor:
    state = {key.removeprefix("visual."): value for key, value in state.items()}

    def conv(x: Tensor, key: str, norm: str, stride: int = 1, padding: int = 0) -> Tensor:
        x = f.conv2d(x, state[f"{key}.weight"], stride=stride, padding=padding)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (state[f"{norm}.{n}"][:, None, None] for n in names)
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    x = conv(pixels, "conv1", "bn1", stride=2, padding=1).relu()
    x = conv(conv(x, "conv2", "bn2", padding=1).relu(), "conv3", "bn3", padding=1).relu()
    x = f.avg_pool2d(x, 2)
    for stage in (1, 2, 3, 4):
        j = 0
        while f"layer{stage}.{j}.conv1.weight" in state:
            at = f"layer{stage}.{j}"
            stride = 2 if stage > 1 and j == 0 else 1
            y = conv(x, f"{at}.conv1", f"{at}.bn1").relu()
            y = f.avg_pool2d(conv(y, f"{at}.conv2", f"{at}.bn2", padding=1).relu(), stride)
            y = conv(y, f"{at}.conv3", f"{at}.bn3")
            if f"{at}.downsample.0.weight" in state:
                x = conv(f.avg_pool2d(x, stride), f"{at}.downsample.0", f"{at}.downsample.1")
            x, j = (x + y).relu(), j + 1
    t = x.flatten(2).transpose(1, 2)
    t = torch.cat([t.mean(1, keepdim=True), t], 1) + state["attnpool.positional_embedding"]
    names = ("q_proj", "k_proj", "v_proj")
    q, k, v = (t @ state[f"attnpool.{n}.weight"].T + state[f"attnpool.{n}.bias"] for n in names)
    q, k, v = (heads(s) for s in (q, k, v))
    pooled = ((q[:, :, :1] @ k.transpose(-1, -2) / 8).softmax(-1) @ v).transpose(1, 2).flatten(1)
    pooled = pooled @ state["attnpool.c_proj.weight"].T + state["attnpool.c_proj.bias"]
    return torch.as_tensor(pooled)


TEXT = {"width": 64, "n_layers": N_LAYERS, "embed_dim": 24, "n_tokens": 600, "context_length": 20}
VISION: dict[str, Any] = {
    "resnet": resnet_shapes(width=4, n_blocks=(1, 2, 11, 1), side=2, embed_dim=24),
    "resnet-wide": resnet_shapes(width=8, n_blocks=(2, 1, 1, 2), side=3, embed_dim=24),
    "vit": vit_shapes(width=128, n_layers=N_LAYERS, patch=7, side=3, embed_dim=24),
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
@pytest.mark.parametrize("change", ["as it is", "half", "module."])
def test_towers_compute_the_formulas(kind: str, change: str, write: Callable[..., Path]) -> None:
    state = clip_state(kind)
    if change == "half":
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    prefix = "module." if change == "module." else ""
    clip = load_clip(write({prefix + k: v for k, v in state.items()}), "clip4cir")
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, clip.vision.resolution, clip.vision.resolution, generator=generator)
    ids = torch.randint(1, 598, (3, 20), generator=generator)
    ids[0, 5:], ids[0, 5] = 0, 599
    ids[1, [7, 12]] = 599  # the first counts
    ids[2, 19] = 599
    assert torch.equal(ids.argmax(-1), torch.tensor([5, 7, 19]))
    with torch.inference_mode():
        image, text = clip.vision.model(pixels), clip.text.model(input_ids=ids).text_embeds
        image = image if isinstance(image, Tensor) else image.image_embeds
        oracle = vit_oracle if kind == "vit" else resnet_oracle
        torch.testing.assert_close(image, oracle(state, pixels), atol=2e-5, rtol=2e-5)
        torch.testing.assert_close(text, text_oracle(state, ids), atol=2e-5, rtol=2e-5)
    tensors = [*clip.vision.model.parameters(), *clip.text.model.buffers()]
    assert not any(t.is_meta or t.requires_grad for t in tensors)


def test_rounding_spares_norms_and_embeddings(write: Callable[..., Path]) -> None:
    for kind in ("resnet", "vit"):
        state = clip_state(kind)
        plain = load_clip(write(state), "clip4cir")
        rounded = load_clip(write(state), "clip4cir", float16_rounding=True)
        for tower in ("vision", "text"):
            before = getattr(plain, tower).model.state_dict()
            for key, tensor in getattr(rounded, tower).model.state_dict().items():
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
    state = {k: v for k, v in clip_state().items() if ".resblocks.7." not in k}
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
