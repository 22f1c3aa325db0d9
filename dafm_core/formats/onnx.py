"""A trained LightFusion as an ONNX graph: channels and context in, fused scores out.

The extra ``[onnx]`` is needed to write it, any ONNX runtime to use it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import OptionError
from dafm_core.formats.exporting import described, exported
from dafm_core.fusion.base import Fuser
from dafm_core.ground.files import replacing_with

OPSET: Final = 17
IR_VERSION: Final = 8
"""Old enough for runtimes of 2022."""
Step: TypeAlias = tuple[str, list[str], str]
"""Operator, what it takes, and what its result is called."""


def export_onnx(fuser: Fuser, folder: str | Path) -> Path:
    """Write ``fusion.onnx``, ``channels.txt`` and ``README.md`` into a folder.

    The graph takes ``channels`` (B, C, N) and, where the fusion has networks, ``context`` (B, D),
    both float32, and gives ``fused`` (B, N); B and N are free.

    Raises
    ------
    FuserError
        As :func:`~dafm_core.formats.exporting.export_numpy`.
    OptionError
        Where the package onnx is not installed.
    """
    weights, names = exported(fuser)
    model = _model(weights)
    folder = Path(folder)
    what = "`fusion.onnx` turns `channels` into `fused` scores."
    beside = described(folder, names, what, weights)
    with replacing_with(folder / "fusion.onnx", beside) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return folder


def _model(weights: dict[str, NDArray[Any]]) -> Any:
    """Return the graph."""
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise OptionError(
            "--to onnx: the package onnx is not installed. pip install 'dafm-core[onnx]'"
        ) from None
    shapes: dict[str, list[Any]] = {"channels": ["B", len(weights["linear"]), "N"]}
    steps: list[Step] = [("MatMul", ["linear", "channels"], "scores")]  # (1, C) -> (B, 1, N)
    constants = {"linear": weights["linear"][None], "axes": np.array([1], np.int64)}
    if "hidden" in weights:
        shapes["context"] = ["B", len(weights["context_mean"])]
    for part, has_it in ((_doubt, "doubt_root"), (_networks, "hidden")):
        if has_it in weights:
            more_steps, more = part(weights)
            steps, constants = steps + more_steps, constants | more
    nodes = [helper.make_node(kind, inputs, [out]) for kind, inputs, out in steps]
    total = steps[-1][2]
    nodes.append(helper.make_node("Squeeze", [total, "axes"], ["fused"]))
    single = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "dafm",
        [helper.make_tensor_value_info(name, single, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("fused", single, ["B", "N"])],
        [numpy_helper.from_array(_single(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


def _doubt(weights: dict[str, NDArray[Any]]) -> tuple[list[Step], dict[str, NDArray[Any]]]:
    """Return what draws scores to a level by how far they are in doubt."""
    constants = {
        "root": weights["doubt_root"],
        "centre": weights["doubt_shift"][:, None],
        "level": weights["doubt_level"].reshape(1),
        "one": np.ones(1, np.float32),
    }
    steps: list[Step] = [
        ("MatMul", ["root", "channels"], "turned"),  # (C, C) -> (B, C, N)
        ("Sub", ["turned", "centre"], "away"),
        ("Mul", ["away", "away"], "squares"),
        ("ReduceSum", ["squares", "axes"], "length"),  # (B, 1, N)
        ("Add", ["length", "one"], "more"),
        ("Sqrt", ["more"], "divisor"),
        ("Sub", ["scores", "level"], "above"),
        ("Div", ["above", "divisor"], "drawn"),
        ("Add", ["drawn", "level"], "total"),
    ]
    return steps, constants


def _networks(weights: dict[str, NDArray[Any]]) -> tuple[list[Step], dict[str, NDArray[Any]]]:
    """Return what adds the networks' scores."""
    constants = {
        "mean": weights["context_mean"],
        "std": weights["context_std"],
        "query": weights["query"].T,
        "bias": weights["bias"],
        "last": np.array([2], np.int64),
        "hidden": weights["hidden"],
        "output": weights["output"][None],
    }
    steps: list[Step] = [
        ("Sub", ["context", "mean"], "centred"),
        ("Div", ["centred", "std"], "shape"),
        ("MatMul", ["shape", "query"], "asked"),
        ("Add", ["asked", "bias"], "shift"),
        ("Unsqueeze", ["shift", "last"], "shifts"),  # (B, H, 1)
        ("MatMul", ["hidden", "channels"], "seen"),  # (H, C) -> (B, H, N)
        ("Add", ["seen", "shifts"], "units"),
        ("Relu", ["units"], "active"),
        ("MatMul", ["output", "active"], "learned"),  # (1, H) -> (B, 1, N)
        ("Add", ["scores", "learned"], "total"),
    ]
    return steps, constants


def _single(array: NDArray[Any]) -> NDArray[Any]:
    kind = np.int64 if array.dtype == np.int64 else np.float32
    return np.ascontiguousarray(array, kind)
