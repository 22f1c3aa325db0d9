"""Towers of every kind and size against the formulas, on the state dict itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as f

from dafm_core.errors import ProviderError
from dafm_core.wrapping.checkpoints import Weights
from dafm_core.wrapping.clip.random_weights import (
    random_state,
    resnet_shapes,
    text_shapes,
    vit_shapes,
)
from dafm_core.wrapping.clip.state_dict import Clip, clip_towers
from dafm_core.wrapping.clip.towers import TextTower

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


def text_oracle(
    state: State, ids: Tensor, embeddings: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    x = state["token_embedding.weight"][ids] if embeddings is None else embeddings
    x, n = x + state["positional_embedding"], ids.shape[1]
    x = blocks(state, "transformer", x, torch.full((n, n), -torch.inf).triu(1))
    x = f.layer_norm(x, x.shape[-1:], state["ln_final.weight"], state["ln_final.bias"])
    return x[torch.arange(len(ids)), ids.argmax(-1)] @ state["text_projection"], x


def vit_oracle(state: State, pixels: Tensor) -> tuple[Tensor, Tensor]:
    state = {key.removeprefix("visual."): value for key, value in state.items()}
    patch = state["conv1.weight"].shape[-1]
    x = f.conv2d(pixels, state["conv1.weight"], stride=patch).flatten(2).transpose(1, 2)
    first = state["class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([first, x], 1) + state["positional_embedding"]
    x = f.layer_norm(x, x.shape[-1:], state["ln_pre.weight"], state["ln_pre.bias"])
    x = blocks(state, "transformer", x, None)
    first = f.layer_norm(x[:, 0], x.shape[-1:], state["ln_post.weight"], state["ln_post.bias"])
    return first @ state["proj"], x


def resnet_oracle(state: State, pixels: Tensor) -> tuple[Tensor, Tensor]:
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
    return pooled, t


TEXT = {"width": 64, "n_layers": N_LAYERS, "embed_dim": 24, "n_tokens": 600, "context_length": 20}
VISION: dict[str, Any] = {
    "resnet": resnet_shapes(width=4, n_blocks=(1, 2, 11, 1), side=2, embed_dim=24),
    "resnet-wide": resnet_shapes(width=8, n_blocks=(2, 1, 1, 2), side=3, embed_dim=24),
    "vit": vit_shapes(width=128, n_layers=N_LAYERS, patch=7, side=3, embed_dim=24),
}
VISION = {name: list(shapes) for name, shapes in VISION.items()}


ORACLES = {"resnet": resnet_oracle, "resnet-wide": resnet_oracle, "vit": vit_oracle}


def clip_state(kind: str = "resnet") -> State:
    return random_state([*text_shapes(**TEXT), *VISION[kind]], seed=3)


def ids_of() -> Tensor:
    ids = torch.randint(1, 598, (3, 20), generator=torch.Generator().manual_seed(1))
    ids[0, 5:], ids[0, 5] = 0, 599
    ids[1, [7, 12]] = 599  # the first counts
    ids[2, 19] = 599
    assert torch.equal(ids.argmax(-1), torch.tensor([5, 7, 19]))
    return ids


def load(state: State, prefix: str = "", **options: Any) -> Clip:
    weights = Weights({prefix + key: value for key, value in state.items()}, "toy: checkpoint")
    clip = clip_towers(weights, prefix, **options)
    assert weights.unused(ignored=(f"{prefix}logit_scale",)) == []
    return clip


@pytest.mark.parametrize("kind", VISION)
@pytest.mark.parametrize("change", ["as it is", "half", "prefix"])
def test_towers_compute_the_formulas(kind: str, change: str) -> None:
    state = clip_state(kind)
    if change == "half":
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    clip = load(state, "backbone.clip." if change == "prefix" else "")
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    generator, side = torch.Generator().manual_seed(0), clip.vision.resolution
    pixels = torch.randn(2, 3, side, side, generator=generator)
    with torch.inference_mode():
        image, text = clip.vision(pixels), clip.text(ids_of())
        torch.testing.assert_close(image, ORACLES[kind](state, pixels), atol=2e-5, rtol=2e-5)
        torch.testing.assert_close(text, text_oracle(state, ids_of()), atol=2e-5, rtol=2e-5)
    tensors = [*clip.vision.parameters(), *clip.text.parameters(), *clip.text.buffers()]
    assert not any(t.is_meta or t.requires_grad for t in tensors)
    assert (clip.text.n_tokens, clip.text.context_length) == (600, 20)
    assert clip.text.embed_dim == clip.vision.embed_dim == 24


@pytest.mark.parametrize("kind", VISION)
def test_a_tower_computes_in_its_type_and_gives_float32(kind: str) -> None:
    exact, half = load(clip_state(kind)), load(clip_state(kind), dtype=torch.bfloat16)
    assert {p.dtype for p in (*half.vision.parameters(), *half.text.parameters())} == {
        torch.bfloat16
    }
    pixels = torch.zeros(1, 3, half.vision.resolution, half.vision.resolution)
    with torch.inference_mode():
        for outputs in (half.vision(pixels), half.text(ids_of())):
            assert {tensor.dtype for tensor in outputs} == {torch.float32}
        difference = (half.text(ids_of()).feature - exact.text(ids_of()).feature).abs().max()
    assert 1e-4 < difference < 1


def text_tower() -> tuple[TextTower, State]:
    state = clip_state()
    return load(state).text, state


def test_a_word_of_ones_own_at_a_token_position() -> None:
    """As Pic2Word does: one position's embedding comes from elsewhere, the ids stay as they are."""
    tower, state = text_tower()
    ids = ids_of()
    with torch.inference_mode():
        embeddings = tower.embed_tokens(ids)
        assert torch.equal(embeddings, state["token_embedding.weight"][ids])
        torch.testing.assert_close(tower(ids, embeddings), tower(ids))
        embeddings[:, 3] = torch.randn(3, 64, generator=torch.Generator().manual_seed(2))
        replaced = tower(ids, embeddings)
        expected = text_oracle(state, ids, embeddings)
        torch.testing.assert_close(replaced, expected, atol=2e-5, rtol=2e-5)
        assert (replaced.feature - tower(ids).feature).abs().max() > 1e-2
        torch.testing.assert_close(tower(ids), text_oracle(state, ids), atol=2e-5, rtol=2e-5)


def test_embeddings_that_do_not_fit_leave_no_hook_behind() -> None:
    tower, _ = text_tower()
    with torch.inference_mode():
        before = tower(ids_of())
        with pytest.raises(RuntimeError):
            tower(ids_of(), torch.zeros(3, 20, 7))
        torch.testing.assert_close(tower(ids_of()), before)


@pytest.mark.parametrize("eos", [0, 2, 598])
def test_the_end_token_of_a_configuration_decides_nothing(eos: int) -> None:
    tower, state = text_tower()
    tower.model.config.eos_token_id = eos
    tower.model.text_model.config.eos_token_id = eos
    with torch.inference_mode():
        got = tower(ids_of())
    torch.testing.assert_close(got, text_oracle(state, ids_of()), atol=2e-5, rtol=2e-5)


def test_towers_of_two_widths_are_no_clip() -> None:
    state = clip_state() | {"text_projection": torch.zeros(64, 23)}
    with pytest.raises(ProviderError, match="features of one width, got 24 for images and 23"):
        load(state)
