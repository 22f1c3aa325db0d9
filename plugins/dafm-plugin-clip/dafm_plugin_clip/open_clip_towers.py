"""Checkpoints of open_clip, through the library itself: the extra ``[open-clip]``."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dafm_core.errors import OptionError, ProviderError
from dafm_core.ground.printable import first_line
from dafm_core.wrapping.inference import Settings
from dafm_core.wrapping.target_pad import as_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

_SCHEMES = ("hf-hub", "local-dir")
_NEXT = "Give a folder, a name of the hub, ARCH:TAG or ARCH:FILE."


class TensorTransform:
    """Pillow image -> what the library's own preprocessing makes of it, float32."""

    def __init__(self, preprocess: Any) -> None:
        self.preprocess = preprocess

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """Return the pixels of one image."""
        pixels: NDArray[np.float32] = np.asarray(self.preprocess(as_rgb(image)), np.float32)
        return pixels


class OpenClipTowers:
    """A model of open_clip; its tokeniser cuts texts that are longer than its context."""

    def __init__(self, model: Any, preprocess: Any, tokenizer: Any, settings: Settings) -> None:
        self.model = model.to(device=settings.device, dtype=settings.dtype).eval()
        self.settings, self._tokenizer = settings, tokenizer
        self.transform = TensorTransform(preprocess)
        with torch.inference_mode():
            self.n_dims = int(self.text_features(["a"]).shape[-1])

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Return raw features (B, D)."""
        features: Tensor = self.model.encode_text(
            self._tokenizer(list(texts)).to(self.settings.device)
        )
        return features

    def image_features(self, pixels: Tensor) -> Tensor:
        """Return raw features (B, D) of what ``transform`` made."""
        features: Tensor = self.model.encode_image(pixels.to(self.settings.dtype))
        return features


def load(
    model: str, revision: str | None, settings: Settings, where: str
) -> tuple[OpenClipTowers, dict[str, str]]:
    """Return the towers of a folder, a name of the hub, ``ARCH:TAG`` or ``ARCH:FILE``.

    Their passport comes with them.

    Raises
    ------
    OptionError
        If the library is not installed, or a revision is given.
    ProviderError
        If the model cannot be had.
    """
    try:
        library = importlib.import_module("open_clip")
    except ImportError:
        raise OptionError(
            f"{where}: library=open_clip needs a package that is not installed. "
            "Run pip install 'dafm-plugin-clip[open-clip]'."
        ) from None
    if revision is not None:
        raise OptionError(f"{where}: option 'revision': open_clip takes none, got {revision!r}.")
    name, pretrained = _named(model, where)
    try:
        network, preprocess = library.create_model_from_pretrained(
            name, **({"pretrained": pretrained} if pretrained else {})
        )
        tokenizer = library.get_tokenizer(name)
    except Exception as error:  # no network, no such name, a damaged file: all is bad input
        reason = first_line(error)
        raise ProviderError(
            f"{where}: {model!r} cannot be loaded by open_clip ({reason[:160]}). {_NEXT}"
        ) from error
    passport = {
        "parameters_sha256": _hash(network),
        "preprocessing": f"open_clip {getattr(library, '__version__', '')} {name}",
    }
    return OpenClipTowers(network, preprocess, tokenizer, settings), passport


def _named(model: str, where: str) -> tuple[str, str | None]:
    """Return what the library calls the model, and the tag or file of its weights, if any.

    A path that leads nowhere is refused here: the library would ask the hub for it, for a while.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return f"local-dir:{folder}", None
    name, _, weights = model.partition(":")
    file = Path(weights).expanduser() if weights and name not in _SCHEMES else folder
    if file.is_file() and file != folder:
        return name, str(file)
    if file.is_absolute() or str(file).startswith(".") or str(file).count("/") > 1:
        raise ProviderError(
            f"{where}: model: {file} {'is a file' if file.exists() else 'does not exist'}. {_NEXT}"
        )
    if name in _SCHEMES or weights:
        return (model, None) if name in _SCHEMES else (name, weights)
    return f"hf-hub:{model}" if "/" in model else model, None


def _hash(network: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
