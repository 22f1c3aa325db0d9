"""A pickled module comes back as its state dict, and nothing in a file is ever executed."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from dafm_plugin_tgcir import pickled_module
from dafm_plugin_tgcir.pickled_module import read_tensors_or_module
from torch import Tensor, nn

from dafm_core.errors import ProviderError

WHERE = "tgcir: checkpoint"


@pytest.fixture
def authors(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A module named like the authors', there while a file is written."""
    module = types.ModuleType("model")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 2, bias=False)
            self.attn = nn.MultiheadAttention(8, 2)
            self.norm = nn.BatchNorm1d(4)
            self.alias = self.conv
            self.register_buffer("passing", torch.ones(2), persistent=False)
            self.absent: nn.Module | None = None
            self.register_module("gone", None)
            self.mask = torch.ones(5)  # a plain attribute is not a weight

    Net.__module__, Net.__qualname__ = "model", "Net"
    vars(module)["Net"] = Net
    monkeypatch.setitem(sys.modules, "model", module)
    return module


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_the_released_form_equals_its_state_dict(fixtures: Path) -> None:
    module = read_tensors_or_module(fixtures / "checkpoint_module.pt", WHERE)
    same(module, torch.load(fixtures / "checkpoint_state_dict.pt", weights_only=True))
    assert "model" not in sys.modules


@pytest.mark.parametrize("allowed", [[], [nn.Conv2d, nn.BatchNorm1d]])
def test_a_module_is_its_state_dict_even_where_classes_are_allowed(
    authors: types.ModuleType, tmp_path: Path, allowed: list[Any]
) -> None:
    net = authors.Net()
    torch.save(net, tmp_path / "x.pt")
    before = set(torch.serialization.get_safe_globals())
    with torch.serialization.safe_globals(allowed):
        same(read_tensors_or_module(tmp_path / "x.pt", WHERE), net.state_dict())
    assert set(torch.serialization.get_safe_globals()) == before


def test_old_files_lack_attributes(authors: types.ModuleType, tmp_path: Path) -> None:
    net = authors.Net()
    for module in net.modules():
        del module._non_persistent_buffers_set
    torch.save(net, tmp_path / "x.pt")
    assert "passing" in read_tensors_or_module(tmp_path / "x.pt", WHERE)


def refused(path: Path, match: str) -> None:
    with pytest.raises(ProviderError, match=match) as caught:
        read_tensors_or_module(path, WHERE)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_code_is_refused_and_not_executed(authors: types.ModuleType, tmp_path: Path) -> None:
    made = tmp_path / "made"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(made),)

    net = authors.Net()
    net.extra = Payload()
    torch.save(net, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", r"would execute posix\.mkdir|nt\.mkdir")
    torch.save({"state_dict": {"a": Payload()}}, tmp_path / "y.pt")
    refused(tmp_path / "y.pt", "Nothing was executed")
    torch.save(net, tmp_path / "z.pt", _use_new_zipfile_serialization=False)
    refused(tmp_path / "z.pt", "before 1.6")
    assert not made.exists()


def test_a_function_under_an_accepted_name_is_not_called(
    authors: types.ModuleType, tmp_path: Path
) -> None:
    def make(path: str) -> None:
        Path(path).mkdir()

    make.__module__, make.__qualname__ = "model", "make"
    vars(authors)["make"] = make

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return make, (str(tmp_path / "made"),)

    torch.save(Payload(), tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "damaged")
    assert not (tmp_path / "made").exists()


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_parallel_wrappers_and_old_streams_are_refused(
    authors: types.ModuleType, tmp_path: Path
) -> None:
    torch.save(nn.DataParallel(authors.Net()), tmp_path / "parallel.pt")
    refused(tmp_path / "parallel.pt", r"torch\.nn\.parallel\.data_parallel\.DataParallel")
    torch.save(authors.Net(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    refused(tmp_path / "old.pt", "before 1.6")
    state = {"a": torch.ones(2)}
    torch.save(state, tmp_path / "state.pt", _use_new_zipfile_serialization=False)
    same(read_tensors_or_module(tmp_path / "state.pt", WHERE), state)


def test_what_is_no_module_is_named(
    authors: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = authors.Net()
    net._modules["itself"] = net
    torch.save(net, tmp_path / "circle.pt")
    monkeypatch.setattr(pickled_module, "MAX_MODULES", 50)
    refused(tmp_path / "circle.pt", "expected a module")
    del net._modules["itself"]
    net._modules["odd"] = 3
    torch.save(net, tmp_path / "odd.pt")
    refused(tmp_path / "odd.pt", r"got int at 'odd\.'")
    for name, content in (("list.pt", [1]), ("tensor.pt", torch.ones(2))):
        torch.save(content, tmp_path / name)
        refused(tmp_path / name, "expected a module")
