"""Harmless names in pickles become plain values; nothing a file names is ever called."""

import argparse
import collections
import datetime
import pathlib
import pickle
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dafm_core.errors import ProviderError
from dafm_core.wrapping.checkpoints import read_checkpoint, unsafe_names
from dafm_core.wrapping.inert import read_numpy, read_numpy_member

HARMLESS = {
    "numpy-float": (np.float64(0.25), 0.25),
    "numpy-int": (np.int32(-7), -7),
    "numpy-text": (np.str_("a"), "a"),
    "namespace": (argparse.Namespace(lr=1), {}),
    "simple-namespace": (types.SimpleNamespace(lr=1), {}),
    "defaultdict": (collections.defaultdict(int, a=1), {"a": 1}),
    "defaultdict-list": (collections.defaultdict(list, a=[1]), {"a": [1]}),
    "counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
    "path": (pathlib.Path("/data/x.jpg"), "/data/x.jpg"),
    "frozenset": (frozenset([1]), (1,)),
    "empty-text": (np.str_(""), ""),
    "date": (datetime.datetime(2026, 1, 1), None),
    "version": (torch.__version__, str(torch.__version__)),
}
ARRAYS = {
    "float": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big-endian": np.arange(4, dtype=">i4"),
    "texts": np.array(["img01", "ä"]),
    "bytes": np.array([b"a", b"bc"]),
    "objects": np.array(["img01", "b"], dtype=object),
    "nothing": np.zeros((0, 3), np.float32),
    "truth": np.array([True, False]),
}


@pytest.mark.parametrize(("value", "plain"), HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("archive", [True, False])
def test_harmless_values_beside_tensors(tmp_path, value, plain, archive):
    path = tmp_path / "m.pt"
    saved = {"scores": torch.ones(2, 3), "odd": value}
    torch.save(saved, path, _use_new_zipfile_serialization=archive)
    content = read_checkpoint(path, "import")
    assert torch.equal(content["scores"], torch.ones(2, 3))
    assert content["odd"] == plain
    assert unsafe_names(path) == []


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_come_back_as_they_were(tmp_path, array):
    torch.save({"a": array}, tmp_path / "m.pt")
    np.savez(tmp_path / "m.npz", a=array)
    np.save(tmp_path / "m.npy", array)
    values = [read_checkpoint(tmp_path / "m.pt", "import")["a"], read_numpy(tmp_path / "m.npy")]
    with zipfile.ZipFile(tmp_path / "m.npz") as archive:
        values.append(read_numpy_member(archive, "a.npy"))
    for value in values:
        assert value.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(value, array)


def test_attributes_of_a_namespace_are_kept(tmp_path):
    torch.save({"args": argparse.Namespace(names=["a"])}, tmp_path / "m.pt")
    assert vars(read_checkpoint(tmp_path / "m.pt", "import")["args"]) == {"names": ["a"]}


def test_torch_allows_no_more_than_before_once_a_file_is_read(tmp_path):
    before = set(torch.serialization.get_safe_globals())  # torch keeps them in no order
    torch.save(argparse.Namespace(), tmp_path / "m.pt")
    read_checkpoint(tmp_path / "m.pt", "import")
    assert set(torch.serialization.get_safe_globals()) == before


class Harmful:
    """Asks to be replaced by the result of a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HARMFUL = {
    "write": (Path.write_text, Path("executed.txt"), "x"),
    "eval": (eval, "open('executed.txt', 'w')"),
    "import": (__import__, "antigravity"),
    "getattr": (getattr, Path("executed.txt"), "touch"),
    "partial": (collections.namedtuple, "x", "a"),
}


@pytest.mark.parametrize("call", HARMFUL.values(), ids=HARMFUL)
def test_other_names_are_refused_and_not_called(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    harmful = Harmful(*call)
    torch.save({"scores": harmful}, "m.pt")
    with pytest.raises(ProviderError, match="would execute") as raised:
        read_checkpoint(Path("m.pt"), "import")
    assert "\n" not in str(raised.value)
    np.save("m.npy", np.array([harmful], dtype=object))
    with pytest.raises(ValueError, match="would execute"):
        read_numpy(Path("m.npy"))
    assert not Path("executed.txt").exists()


class Forged:
    """An array that describes itself as a file wants it to."""

    def __init__(self, dtype, shape, data):
        self.state = 1, shape, dtype, False, data

    def __reduce__(self):
        function, arguments, _ = np.zeros(1).__reduce__()
        return function, arguments, self.state


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        (np.dtype("f8"), (1000,), b"short"),  # would read beyond the bytes
        (np.dtype("O"), (2,), [1]),
        (np.dtype("O"), (1,), b"\x00" * 8),  # would make an object of an address
        (np.dtype("f8"), (-1,), b""),
        (np.dtype([("a", "O")]), (1,), b"\x00" * 8),
    ],
)
def test_arrays_that_lie_about_themselves_are_refused(tmp_path, dtype, shape, data):
    content = pickle.dumps(Forged(dtype, shape, data), 4)
    np.save(tmp_path / "m.npy", np.array([None]))
    file = (tmp_path / "m.npy").read_bytes()
    (tmp_path / "m.npy").write_bytes(file[: file.index(b"\n") + 1] + content)
    with pytest.raises(ValueError, match="nothing was executed"):
        read_numpy(tmp_path / "m.npy")


def test_a_pickle_that_is_no_array_is_refused(tmp_path):
    np.save(tmp_path / "m.npy", np.array([None]))
    file = (tmp_path / "m.npy").read_bytes()
    (tmp_path / "m.npy").write_bytes(file[: file.index(b"\n") + 1] + pickle.dumps("text", 4))
    with pytest.raises(ValueError, match="no array"):
        read_numpy(tmp_path / "m.npy")
