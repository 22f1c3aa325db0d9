"""Recorded numbers come back bit by bit; a restored checkpoint is the one that was recorded."""

import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dafm_core.testing.recorded import (
    Drawn,
    Numbers,
    read_recorded,
    record_checkpoints,
    restore_checkpoints,
    write_recorded,
)

SEED, SHIFT, SCALE = 20231, 1.0, 0.25


def test_arrays_come_back_bit_by_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    special = np.array([np.nan, -0.0, np.inf, 1e-45, -1e38], np.float32)
    arrays: dict[str, NDArray[Any]] = {
        "float32": rng.standard_normal((3, 4, 5)).astype(np.float32),
        "float16": rng.standard_normal((7, 1)).astype(np.float16),
        "int64": rng.integers(-(2**60), 2**60, (4, 3)),
        "bool": rng.random(9) < 0.5,
        "name with spaces / and.dots": special,
        "scalar": np.float64(0.1).reshape(()),
        "nothing": np.empty((0, 3), np.float32),
        "turned": rng.standard_normal((4, 6)).T,
    }
    write_recorded(tmp_path / "x.npz", arrays)
    read = read_recorded(tmp_path / "x.npz")
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes(), name


@pytest.fixture
def content() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(50, 3, generator=generator)
    later = torch.Generator().manual_seed(SEED)
    torch.rand(100, generator=later)
    drawn = torch.randn(37, generator=later)
    return {
        "epoch": 7,
        "state": OrderedDict(
            table=table,
            again=table,  # one record, two names
            slanted=torch.randn(60, generator=generator).as_strided((20, 4), (1, 12)),
            half=torch.randn(5, 5, generator=generator).half(),
            drawn=SHIFT + SCALE * drawn,
            counter=torch.tensor(1055),
        ),
        "optimizer": {"lr": 1e-4, "betas": (0.9, 0.98)},
    }


ROWS = np.zeros((50, 3), np.bool_)
ROWS[[0, 7, 49]] = True
NUMBERS = {
    "source/data/0": Numbers(dtype="<f4", needed=ROWS.reshape(-1)),
    "source/data/1": Numbers(dtype="<f4"),
    "source/data/2": Numbers(dtype="<f2"),
    "source/data/3": Numbers(dtype="<f4", drawn=Drawn(SEED, 100, SHIFT, SCALE)),
    "source/data/4": Numbers(dtype="<i8"),
}


@pytest.fixture
def source(tmp_path: Path, content: dict[str, Any]) -> Path:
    torch.save(content, tmp_path / "source.pt")
    return tmp_path / "source.pt"


def test_a_checkpoint_is_restored_with_the_numbers_that_are_needed(
    tmp_path: Path, source: Path, content: dict[str, Any]
) -> None:
    record_checkpoints(tmp_path / "x.npz", {"target.pt": source}, NUMBERS)
    restore_checkpoints(tmp_path / "x.npz", tmp_path)
    for mmap in (False, True):
        restored = torch.load(tmp_path / "target.pt", weights_only=True, mmap=mmap)
        state, before = restored["state"], content["state"]
        assert restored["epoch"] == 7
        assert restored["optimizer"] == content["optimizer"]
        assert isinstance(state, OrderedDict)
        assert list(state) == list(before)
        assert state["table"].data_ptr() == state["again"].data_ptr()
        assert state["slanted"].stride() == (1, 12)
        for key in ("slanted", "half", "drawn", "counter"):
            assert torch.equal(state[key], before[key]), key
        assert torch.equal(state["table"][[0, 7, 49]], before["table"][[0, 7, 49]])
        others = [i for i in range(50) if i not in (0, 7, 49)]
        assert not torch.isclose(state["table"][others], before["table"][others]).any()
        assert state["table"][others].abs().max() < 1
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "target.pt") as new:
        assert new.namelist() == old.namelist()
        for name in old.namelist():
            if name != "source/data/0":
                assert new.read(name) == old.read(name), name


def test_records_start_on_the_boundaries_that_mapping_needs(tmp_path: Path, source: Path) -> None:
    record_checkpoints(tmp_path / "x.npz", {"target.pt": source}, {})
    restore_checkpoints(tmp_path / "x.npz", tmp_path)
    state = torch.load(tmp_path / "target.pt", weights_only=True, mmap=True)["state"]
    assert all(tensor.data_ptr() % 64 == 0 for tensor in state.values())


def test_two_files_of_the_same_numbers_take_the_place_of_one(tmp_path: Path, source: Path) -> None:
    record_checkpoints(tmp_path / "one.npz", {"a.pt": source}, NUMBERS)
    record_checkpoints(tmp_path / "two.npz", {"a.pt": source, "b.pt": source}, NUMBERS)
    one, two = ((tmp_path / name).stat().st_size for name in ("one.npz", "two.npz"))
    assert two < 1.2 * one
    restore_checkpoints(tmp_path / "two.npz", tmp_path)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


@pytest.mark.parametrize("size", [16, 32, 33, 47, 1000])
@pytest.mark.parametrize("start", [0, 5])
def test_drawn_numbers_are_those_of_torch_but_for_last_bits(size: int, start: int) -> None:
    generator = torch.Generator().manual_seed(SEED)
    if start:
        torch.rand(start, generator=generator)
    expected = torch.randn(size, generator=generator).numpy()
    got = Drawn(SEED, start, 0.0, 1.0).numbers(size, "<f4")
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


def test_numbers_that_were_not_drawn_so_are_refused(tmp_path: Path, source: Path) -> None:
    wrong = {"source/data/3": Numbers(dtype="<f4", drawn=Drawn(SEED, 101, SHIFT, SCALE))}
    with pytest.raises(ValueError, match=r"source/data/3: .*seed=20231, start=101"):
        record_checkpoints(tmp_path / "x.npz", {"a.pt": source}, wrong)
