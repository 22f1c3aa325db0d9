"""All forms of the file, sizes that only shapes tell, and files that are wrong."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from dafm_plugin_tgcir.loading import load_tgcir
from torch import Tensor

from dafm_core.errors import ProviderError

State = dict[str, Tensor]


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path / "x.pt")
    return path / "x.pt"


@pytest.mark.parametrize("form", ["bare", "entry", "wrapped", "half"])
def test_all_forms_of_a_state_dict_are_the_same_model(
    form: str, random_tgcir: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content: Any = random_tgcir
    if form == "wrapped":
        content = {f"module.{key}": value for key, value in content.items()}
    if form == "half":
        content = {key: value.half() for key, value in content.items()}
    with caplog.at_level(logging.WARNING):
        model = load_tgcir(
            saved(tmp_path, {"state_dict": content} if form != "bare" else content), "x"
        )
    assert not caplog.records
    assert model.vision.resolution == 15
    assert model.text.context_length == 20
    rows = random_tgcir["backbone.tokenlearn.tokenizers.10.conv.0.weight"].flatten()
    layer = model.vision.model.state_dict()["vision_model.encoder.layers.10.mlp.fc1.bias"]
    source = "backbone.clip.visual.transformer.resblocks.10.mlp.c_fc.bias"
    limit = 1e-2 if form == "half" else 0.0
    torch.testing.assert_close(model.tokens.attention.weight[10], rows, atol=limit, rtol=0)
    torch.testing.assert_close(layer, random_tgcir[source], atol=limit, rtol=0)
    tensors = [*model.parameters(), *model.buffers()]
    assert not any(t.is_meta for t in tensors)
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float32}


def test_tokens_are_the_formulas(random_tgcir: State, tmp_path: Path) -> None:
    model = load_tgcir(saved(tmp_path, random_tgcir), "x")
    generator = torch.Generator().manual_seed(1)
    feature, x = (torch.randn(2, *s, generator=generator) for s in ((24,), (10, 64)))
    h = x @ random_tgcir["backbone.fc.weight"].T + random_tgcir["backbone.fc.bias"]
    masks, expected = random_tgcir["backbone.masks.weight"], []
    expected += [feature * masks[p].clamp(min=0) for p in range(3)]
    for s in range(12):
        at = f"backbone.tokenlearn.tokenizers.{s}.conv.0"
        w, b = random_tgcir[f"{at}.weight"].flatten(), random_tgcir[f"{at}.bias"]
        expected.append(((h @ w + b).sigmoid().unsqueeze(-1) * h).mean(1))
    tokens = model.tokens.of_image(feature, x)
    torch.testing.assert_close(tokens, torch.stack(expected, 1))
    z = torch.cat([tokens, tokens.flip(0)], -1)
    z = (z @ random_tgcir["s_remain_map.0.weight"].T + random_tgcir["s_remain_map.0.bias"]).relu()
    m = (
        z @ random_tgcir["s_remain_map.2.weight"].T + random_tgcir["s_remain_map.2.bias"]
    ).sigmoid()
    mixed = (m * tokens + (1 - m) * tokens.flip(0)).mean(1)
    composed = model.composition(tokens, tokens.flip(0))
    torch.testing.assert_close(composed, mixed / mixed.norm(dim=-1, keepdim=True))


def test_only_foreign_tensors_are_reported(
    random_tgcir: State, fixtures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_tgcir(fixtures / "checkpoint_module.pt", "tgcir")
        load_tgcir(fixtures / "checkpoint_state_dict.pt", "tgcir")
        assert not caplog.records
        load_tgcir(
            saved(tmp_path, random_tgcir | {"backbone.later.weight": torch.ones(1)}), "tgcir"
        )
    assert "1 tensors are not used: backbone.later.weight" in caplog.text


WRONG = {
    "backbone.masks.weight": (3, 23),
    "backbone.fc.weight": (24, 63),
    "backbone.text_fc.bias": (23,),
    "backbone.tokenlearn.tokenizers.4.conv.0.weight": (1, 24, 2),
    "backbone.tokenlearn.tokenizers.4.conv.0.bias": (),
    "s_remain_map.0.weight": (24, 47),
    "backbone.clip.visual.proj": (64, 25),
    "backbone.clip.visual.conv1.weight": (60, 3, 5, 5),
    "backbone.clip.visual.positional_embedding": (11, 64),
    "backbone.clip.text_projection": (24, 64),
}


@pytest.mark.parametrize("key", WRONG)
def test_missing_and_reshaped_tensors_are_named(
    key: str, random_tgcir: State, tmp_path: Path
) -> None:
    missing = {k: v for k, v in random_tgcir.items() if k != key}
    for wrong in (missing, random_tgcir | {key: torch.zeros(WRONG[key])}):
        with pytest.raises(ProviderError, match="tgcir: checkpoint: expected") as caught:
            load_tgcir(saved(tmp_path, wrong), "tgcir")
        assert "\n" not in str(caught.value)


def test_other_models_and_damaged_files_are_one_line(
    random_tgcir: State, fixtures: Path, tmp_path: Path
) -> None:
    whole = (fixtures / "checkpoint_module.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pt").write_text("hello")
    clip = {k.removeprefix("backbone.clip."): v for k, v in random_tgcir.items() if ".clip." in k}
    torch.save({"epoch": 1, "CLIP": clip}, tmp_path / "clip4cir.pt")
    torch.save(clip, tmp_path / "clip.pt")
    variant = random_tgcir | {"backbone.masks_text.weight": torch.ones(3, 24)}
    torch.save({"state_dict": variant}, tmp_path / "spn.pt")
    messages = {
        "cut.pt": "damaged",
        "text.pt": "damaged",
        "absent.pt": "does not exist",
        "clip4cir.pt": "expected tensors by name, got int for 'epoch'",
        "clip.pt": "another model",
        "spn.pt": "a variant that this provider does not compute",
    }
    for name, match in messages.items():
        with pytest.raises(ProviderError, match=match) as caught:
            load_tgcir(tmp_path / name, "tgcir")
        assert "\n" not in str(caught.value)
