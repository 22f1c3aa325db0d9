from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dafm_core.errors import ProviderError
from dafm_core.ground.files import sha256_of
from dafm_core.wrapping.checkpoints import Weights, assign, read_checkpoint, unsafe_names

WHERE = "toy: checkpoint"


def saved(path: Path, content: Any, **kwargs: Any) -> Path:
    torch.save(content, path, **kwargs)
    return path


class Payload:
    """Would create a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("archive", [True, False])
def test_a_state_dict_comes_back_in_both_formats(tmp_path: Path, archive: bool) -> None:
    state = {"a.weight": torch.randn(3, 2), "n": torch.tensor(7)}
    path = saved(tmp_path / "x.pt", state, _use_new_zipfile_serialization=archive)
    content = read_checkpoint(path, WHERE)
    assert all(torch.equal(content[key], state[key]) for key in state)
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_bad_files_are_one_line_that_names_them(tmp_path: Path) -> None:
    good = saved(tmp_path / "good.pt", {"a": torch.randn(500)}).read_bytes()
    (tmp_path / "cut.pt").write_bytes(good[: len(good) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.pt").write_text("not a checkpoint\n" * 9)
    (tmp_path / "page.pt").write_text("<html>quota exceeded</html>")
    for name in ("cut.pt", "empty.pt", "text.pt", "page.pt", "absent.pt", ""):
        with pytest.raises(ProviderError) as caught:
            read_checkpoint(tmp_path / name, WHERE)
        message = str(caught.value)
        assert message.startswith(WHERE)
        assert "\n" not in message
        assert str(tmp_path / name) in message


@pytest.mark.parametrize("archive", [True, False])
def test_a_file_that_would_execute_code_is_refused(tmp_path: Path, archive: bool) -> None:
    target = tmp_path / "made-by-the-pickle"
    content = {"a": torch.zeros(1), "b": Payload(target)}
    path = saved(tmp_path / "x.pt", content, _use_new_zipfile_serialization=archive)
    with pytest.raises(ProviderError, match=r"mkdir|weights_only|Weights only"):
        read_checkpoint(path, WHERE)
    assert not target.exists()
    assert unsafe_names(path) == (["posix.mkdir"] if archive else [])


class Schedule:
    """What a training program saves of itself."""

    def __init__(self) -> None:
        self.last, self.rates = 3, [0.1]


def test_classes_named_inert_are_not_made_and_others_still_refused(tmp_path: Path) -> None:
    name = f"{Schedule.__module__}.{Schedule.__qualname__}"
    path = saved(tmp_path / "x.pt", {"model": {"w": torch.ones(2)}, "schedule": Schedule()})
    with pytest.raises(ProviderError, match=r"would execute .*Schedule"):
        read_checkpoint(path, WHERE)
    content = read_checkpoint(path, WHERE, inert=[name])
    assert content["model"]["w"].tolist() == [1, 1]
    assert not isinstance(content["schedule"], Schedule)
    path = saved(tmp_path / "y.pt", [Schedule(), Payload(tmp_path / "made")])
    with pytest.raises(ProviderError, match=r"would execute \w+\.mkdir"):
        read_checkpoint(path, WHERE, inert=[name])
    assert not (tmp_path / "made").exists()


def test_a_program_is_refused_and_called_one(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/constants.pkl", b"")
    with pytest.raises(ProviderError, match="TorchScript"):
        read_checkpoint(path, WHERE)


def test_prefix_entry_and_kinds() -> None:
    one = torch.ones(1)
    assert list(Weights.from_content({"module.a": one, "module.b": one}, WHERE)) == ["a", "b"]
    assert list(Weights.from_content({"module.a": one, "b": one}, WHERE)) == ["module.a", "b"]
    assert "a" in Weights.from_content({"epoch": 3, "X": {"a": one}}, WHERE, entry="X")
    wrong: list[Any] = [[], {}, {"epoch": 1}, {3: one}]
    for content in wrong:
        with pytest.raises(ProviderError, match="expected"):
            Weights.from_content(content, WHERE)
    with pytest.raises(ProviderError, match="'X', got 1 entries"):
        Weights.from_content({"state_dict": {}}, WHERE, entry="X")


def test_count_compares_numbers_and_refuses_gaps() -> None:
    one = torch.ones(1)
    weights = Weights({f"layer.{i}.{part}": one for i in range(12) for part in "ab"}, WHERE)
    assert weights.count("layer") == 12
    for keys in (["layer.1.a"], ["layer.0.a", "layer.2.a"], ["other.0.a"], ["layer.x.a"]):
        with pytest.raises(ProviderError, match=r"layer\.0"):
            Weights(dict.fromkeys(keys, one), WHERE).count("layer")


def test_missing_misshapen_and_unused_tensors(caplog: pytest.LogCaptureFixture) -> None:
    weights = Weights({"a": torch.ones(2, 3), "b.x": torch.ones(1), "c": torch.ones(1)}, WHERE)
    assert weights.shape("a", 2) == (2, 3)
    for call in (
        lambda: weights.shape("a", 1),
        lambda: weights.take("d"),
        lambda: weights.shape("d", 1),
    ):
        with pytest.raises(ProviderError, match=WHERE):
            call()
    assert weights.unused() == ["a", "b.x", "c"]
    weights.take("a")
    with caplog.at_level(logging.WARNING):
        weights.report_unused(ignored=["b.", "c"])
        assert not caplog.records
        weights.report_unused(ignored=["b."])
    assert "not used: c" in caplog.text


class Toy(nn.Module):
    ids: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.inner = nn.Module()
        self.inner.register_buffer("ids", torch.arange(4), persistent=False)


def test_assign_keeps_the_memory_and_leaves_nothing_on_meta() -> None:
    with torch.device("meta"):
        toy = Toy()
    weight, bias = torch.randn(3, 2), torch.randn(3).half()
    tensors = {"linear.weight": ("w", weight), "linear.bias": ("b", bias)}
    with pytest.raises(AssertionError, match=r"inner\.ids"):
        assign(toy, tensors, WHERE)
    assign(toy, tensors, WHERE, buffers={"inner.ids": torch.arange(4)})
    assert toy.linear.weight.data_ptr() == weight.data_ptr()
    assert toy.linear.bias.dtype is torch.float32
    assert not toy.training
    assert not any(p.requires_grad for p in toy.parameters())
    for bad in (torch.randn(2, 3), torch.ones(3, 2, dtype=torch.int64)):
        with pytest.raises(ProviderError, match="for 'w'"):
            assign(toy, tensors | {"linear.weight": ("w", bad)}, WHERE)


def test_importing_the_module_does_not_import_torch() -> None:
    code = "import sys, dafm_core.wrapping.checkpoints; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
