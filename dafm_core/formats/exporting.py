"""A trained fusion for somebody else's engine: its weights, and a function that needs no dafm.

What is exported is the last step, from channels of candidates to fused scores. How channels are
made of scores stands in the README that is written beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import FuserError
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.channels.families import FAMILIES
from dafm_core.fusion.channels.fuser import ChannelFusion
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.light.doubt import from_arrays
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.ground.files import replacing_with

SCORE: Final = '''"""Fused scores of candidates, from their channels: needs NumPy, no dafm.

    weights = dict(numpy.load("weights.npz"))
    fused = score(channels, context, weights)

channels (B, C, N): see README.md for the order and the meaning of the C channels; 0 where a
candidate is excluded or a channel is not known. context (B, D): the shape of each row; read only
where the fusion has networks. The result, (B, N), ranks candidates of one query; higher is better.
"""

import numpy as np


def score(channels, context, weights):
    """Return fused scores, (B, C, N), (B, D) -> (B, N)."""
    fused = weights["linear"] @ channels
    if "doubt_root" in weights:  # what a few labels leave open is drawn to the level
        away = weights["doubt_root"] @ channels - weights["doubt_shift"][:, None]  # (B, C, N)
        level = weights["doubt_level"]
        return level + (fused - level) / np.sqrt(1 + (away**2).sum(axis=1))
    if "hidden" not in weights:
        return fused
    shape = (context - weights["context_mean"]) / weights["context_std"]
    shift = shape @ weights["query"].T + weights["bias"]  # (B, D) -> (B, H)
    for row, candidates in enumerate(channels):
        hidden = np.maximum(weights["hidden"] @ candidates + shift[row, :, None], 0)
        fused[row] += weights["output"] @ hidden  # (H,) @ (H, N) -> (N,)
    return fused


def linear_formula(names, weights):
    """Return the linear part as a text, for engines that re-score by a formula."""
    terms = [f"{w:+.6g} * {name}" for name, w in zip(names, weights["linear"], strict=True) if w]
    return " ".join(terms)


if __name__ == "__main__":
    loaded = dict(np.load("weights.npz"))
    print(linear_formula(open("channels.txt").read().split(), loaded))
'''


def export_numpy(fuser: Fuser, folder: str | Path) -> Path:
    """Write ``weights.npz``, ``channels.txt``, ``score.py`` and ``README.md`` into a folder.

    Raises
    ------
    FuserError
        If the fuser is not a fitted LightFusion: a rule has no weights of channels.
    """
    weights, names = exported(fuser)
    folder = Path(folder)
    what = "`score.py` turns channels into fused scores, with `weights.npz` and NumPy alone."
    beside = {folder / "score.py": SCORE, **described(folder, names, what, weights)}
    with replacing_with(folder / "weights.npz", beside) as temporary:
        np.savez(temporary, **weights)  # type: ignore[arg-type]  # none is called allow_pickle
    return folder


def exported(fuser: Fuser) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return weights by name, and the names of the channels in their order.

    Raises
    ------
    FuserError
        As :func:`export_numpy`.
    """
    if not isinstance(fuser, LightFusion) or not fuser.is_fitted:
        raise FuserError(
            f"export: expected a fitted LightFusion, got {fuser.name}. The rules are formulas: see "
            "dafm fusers."
        )
    layout = layout_of(fuser)
    arrays = fuser.learned_.arrays
    weights: dict[str, NDArray[Any]] = {"linear": arrays["weights"][0].astype(np.float32)}
    doubt = from_arrays(arrays, 0)
    if "network.score" not in arrays and not doubt.is_none:
        weights |= {
            "doubt_root": doubt.root,
            "doubt_shift": doubt.shift,
            "doubt_level": np.array(doubt.level, np.float32),
        }
    if "network.score" in arrays:
        weights |= {
            "hidden": arrays["network.evidence"],
            "bias": arrays["network.bias"],
            "query": arrays["network.query"],
            "output": arrays["network.score"],
            "context_mean": arrays["context.mean"].reshape(-1),
            "context_std": arrays["context.std"].reshape(-1),
        }
    pairs = ((family, name) for family in layout.families for name in layout.providers)
    return weights, [f"{family}:{name}" for family, name in pairs]


def layout_of(fuser: ChannelFusion[Any]) -> Layout:
    """Return the order of the channels of a fitted fusion."""
    return Layout(fuser.families_, fuser.record_.providers)


def described(
    folder: Path, names: list[str], what: str, weights: dict[str, NDArray[Any]]
) -> dict[Path, str | None]:
    """Return the names of the channels, and what has to be computed outside, as files beside the
    weights; ``what`` says what these do.
    """
    return {
        folder / "channels.txt": "\n".join(names) + "\n",
        folder / "README.md": _readme(names, what, "hidden" in weights),
    }


def _readme(names: list[str], what: str, has_networks: bool) -> str:
    families = list(dict.fromkeys(name.partition(":")[0] for name in names))
    made = "\n".join(f"* `{family}`: {FAMILIES[family]}" for family in families)
    context = (
        "\n## Context\nFor each query (5 K numbers, statistics outside, providers inside), of the "
        "row-standardised scores: the best; its lead over the second; over the tenth; the tenth's "
        "lead over the hundredth; the entropy of their softmax.\n"
        if has_networks
        else ""
    )
    return (
        "# A fusion trained by dafm\n\n"
        f"{what} `channels.txt` lists the channels in order: family, then provider.\n\n"
        "## What has to be computed outside\n"
        "For each query and provider, over the *whole* row of candidates:\n\n"
        f"{made}\n\n"
        "Rows are standardised to mean 0 and standard deviation 1 over the candidates that are not "
        "excluded. Columns use mean and standard deviation of each candidate over a bank of other "
        "queries' standardised rows. `dafm_core/fusion/channels/view.py` is the reference.\n"
        f"{context}"
    )
