"""Reading a pickled ``nn.Module`` as data: its tensors, and nothing of it executed.

TG-CIR was released as a whole module, which names classes of its authors' code. Every name under
their prefixes is answered with one empty class, so unpickling builds a tree of dictionaries and no
code of the file, of its authors or of torch's modules runs. Any other name is refused before
anything is loaded. Not here: what the tensors mean (``loading.py``).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from dafm_core.errors import ProviderError
from dafm_core.wrapping.checkpoints import read_checkpoint, unsafe_names

PREFIXES = ("model.", "clip.model.", "torch.nn.modules.")
"""Where the classes of a released file live; old files name classes that no longer exist."""

MAX_MODULES = 100_000
"""More than any model has; a file whose modules contain each other would never end."""

_STREAM_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # of torch before 1.6
_LOCK = Lock()  # torch's allow-list belongs to the process


class Inert:
    """Stands for every class that a file names; its state lands in ``__dict__``."""


def read_tensors_or_module(path: Path, where: str) -> Any:
    """Return the content of a checkpoint, a pickled module in it as its flat state dict.

    Raises
    ------
    ProviderError
        If the file is missing or damaged, names anything but modules of TG-CIR, CLIP and torch, or
        is a module in the older stream format, for which there is no safe way.
    """
    with _LOCK:
        names = unsafe_names(path)
        if foreign := [name for name in names if not name.startswith(PREFIXES)]:
            raise ProviderError(
                f"{where}: expected modules of TG-CIR, CLIP and torch only, got {path}, which "
                f"would execute {', '.join(foreign[:3])}. Nothing was executed; take the file "
                "from its authors."
            )
        with torch.serialization.safe_globals([(Inert, name) for name in names]):
            try:
                content = read_checkpoint(path, where)
            except ProviderError:
                _refuse_old_module(path, where)
                raise
    return content if isinstance(content, Mapping) else _state_of(content, path, where)


def _refuse_old_module(path: Path, where: str) -> None:
    if not path.is_file() or zipfile.is_zipfile(path):
        return
    with path.open("rb") as file:
        start = file.read(len(_STREAM_MAGIC))
    if start == _STREAM_MAGIC:
        raise ProviderError(
            f"{where}: {path} is a module in the format of torch before 1.6, which cannot be read "
            "without executing it. Save its state dict where the file is trusted, and give that."
        ) from None


def _state_of(module: Any, path: Path, where: str) -> dict[str, Tensor]:
    """Return what ``module.state_dict()`` would, from the attributes alone."""
    state: dict[str, Tensor] = {}
    waiting, n_seen = [("", module)], 0
    while waiting:
        prefix, current = waiting.pop()
        attributes = getattr(current, "__dict__", {})
        parts = [attributes.get(name) for name in ("_parameters", "_buffers", "_modules")]
        mappings = [part for part in parts if isinstance(part, Mapping)]
        n_seen += 1
        if n_seen > MAX_MODULES or len(mappings) < len(parts):
            raise ProviderError(
                f"{where}: expected a module, got {type(current).__name__} at "
                f"{prefix or 'the top'!r} ({path}). Is this the checkpoint of another model?"
            )
        parameters, buffers, children = mappings
        passing = attributes.get("_non_persistent_buffers_set", ())  # very old files lack it
        lasting = {key: value for key, value in buffers.items() if key not in passing}
        for key, value in (*parameters.items(), *lasting.items()):
            if value is not None:
                state[f"{prefix}{key}"] = value
        waiting += [(f"{prefix}{key}.", c) for key, c in children.items() if c is not None]
    return state
