"""Every wrong file or option is one line of the right error, and nothing in a file is executed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.testing import assert_allclose

from dafm_core.errors import DafmError, OptionError, ProviderError

State = dict[str, torch.Tensor]


def refusal(case, error: type[DafmError] = ProviderError, **options: Any) -> str:
    with pytest.raises(error) as caught:
        case.load(**options)
    message = str(caught.value)
    assert message.startswith(f"covr-{case.name}")
    assert "\n" not in message
    return message


def state_of(case, file: str = "checkpoint_gallery.pth") -> State:
    content: dict[str, State] = torch.load(case.folder / file, weights_only=True)
    return dict(content["model"])


def saved(path: Path, state: State) -> Path:
    torch.save({"model": state}, path)
    return path


def test_each_model_refuses_the_files_of_the_others(cases, tmp_path: Path) -> None:
    blip, blip2 = cases["blip"], cases["blip2"]
    assert "Use --provider covr-blip2" in refusal(blip, checkpoint=blip2.folder / "checkpoint.ckpt")
    own = blip.folder / "checkpoint.ckpt"
    assert "Use --provider covr-blip " in refusal(blip2, checkpoint=own)
    gallery = blip2.folder / "checkpoint_gallery.pth"
    assert "Give it as gallery_checkpoint" in refusal(blip2, checkpoint=gallery)
    momentum = saved(tmp_path / "blip.pth", {"visual_encoder_m.cls_token": torch.ones(1, 1, 2)})
    assert "BLIP's own file" in refusal(blip, checkpoint=momentum)
    for entry, provider in (("Blip2QformerCirAlignPrompt", "sprc"), ("BLIP_Retrieval", "blip4cir")):
        torch.save({"epoch": 1, entry: {}}, tmp_path / "other.pt")
        message = refusal(blip, checkpoint=tmp_path / "other.pt")
        assert f"--provider {provider} of dafm-plugin-{provider}" in message
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    assert "expected an entry 'model'" in refusal(blip2, checkpoint=tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("itm_head.")], "without 'itm_head.'"),
        (
            lambda s: s.update({"ln_vision.bias": s["ln_vision.bias"] + 1}),
            "expected 'ln_vision.bias' as in the checkpoint",
        ),
        (
            lambda s: s.update({"visual_encoder.cls_token": torch.ones(1, 1, 3)}),
            "visual_encoder.cls_token",
        ),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("Qformer.")], "no Q-Former"),
        (lambda s: s.pop("Qformer.bert.embeddings.LayerNorm.weight"), "LayerNorm.weight"),
    ],
)
def test_gallery_files_that_do_not_belong(
    cases, tmp_path: Path, change: Callable[[State], object], named: str
) -> None:
    state = state_of(cases["blip2"])
    change(state)
    message = refusal(cases["blip2"], gallery_checkpoint=saved(tmp_path / "g.pth", state))
    assert named in message
    assert message.startswith("covr-blip2: gallery_checkpoint:")


def test_the_same_query_tokens_are_refused(cases, tmp_path: Path) -> None:
    case = cases["blip2"]
    state = state_of(case, "checkpoint_gallery.pth")
    state["query_tokens"] = state_of_query(case)["query_tokens"]
    path = saved(tmp_path / "g.pth", state)
    assert "other query tokens" in refusal(case, gallery_checkpoint=path)


def state_of_query(case) -> State:
    path, names = case.folder / "checkpoint.ckpt", ["src.tools.scheduler.CosineSchedule"]
    with torch.serialization.safe_globals([(Stub, name) for name in names]):
        content: dict[str, State] = torch.load(path, weights_only=True)
    return dict(content["model"])


class Stub:
    """Stands for the schedule in the file."""


def test_what_a_file_may_lack_and_a_prefix_it_may_have(cases, tmp_path: Path) -> None:
    case = cases["blip2"]
    frozen = ("visual_encoder.", "ln_vision.", "vision_proj.")
    small = {k: v for k, v in state_of(case).items() if not k.startswith(frozen)}
    prefixed = {f"module.{key}": value for key, value in state_of_query(case).items()}
    provider = case.load(
        checkpoint=saved(tmp_path / "q.ckpt", prefixed),
        gallery_checkpoint=saved(tmp_path / "g.pth", small),
    )
    features = provider.encode_gallery(case.images())
    assert_allclose(features, case.expected["gallery_features"], rtol=0, atol=1e-5)


def test_unknown_classes_in_a_file_are_named(case, tmp_path: Path) -> None:
    torch.save({"model": {}, "scheduler": Stub()}, tmp_path / "x.ckpt")
    assert "Stub" in refusal(case, checkpoint=tmp_path / "x.ckpt")


def test_options_that_make_no_sense(cases) -> None:
    assert "vision_heads" in refusal(cases["blip"], OptionError, vision_heads=5)
    assert "qformer_heads" in refusal(cases["blip2"], OptionError, qformer_heads=3)
    assert "score" in refusal(cases["blip2"], OptionError, score="median")


def test_the_passport_names_both_files_and_the_score(cases) -> None:
    prints = [cases["blip2"].load(score=score).fingerprint for score in ("max", "mean")]
    assert prints[0] | {"score": "mean"} == prints[1]
    digests = {prints[0]["checkpoint_sha256"], prints[0]["gallery_checkpoint_sha256"]}
    assert len(digests) == 2
