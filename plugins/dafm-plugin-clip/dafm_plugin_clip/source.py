"""Where a model's files are: a folder, or a snapshot of the hub; and their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dafm_core.errors import OptionError, ProviderError
from dafm_core.ground.files import sha256_of
from dafm_core.ground.printable import first_line
from dafm_core.wrapping.hub import pin

_SMALL = ("*.json", "*.txt", "*.model", "*.safetensors")
_OLDER = ("pytorch_model*.bin", "pytorch_model*.bin.index.json", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class Source:
    """The folder of a model.

    Parameters
    ----------
    folder : Path
    revision : str
        Commit of the snapshot, or ``"folder"``.
    """

    folder: Path
    revision: str

    def weight_files(self, where: str) -> list[Path]:
        """Return the files that hold the weights: safetensors before older ones.

        Raises
        ------
        ProviderError
            If there are none.
        """
        for pattern in ("*.safetensors", "*pytorch_model*.bin"):
            if files := sorted(self.folder.glob(pattern)):
                return files
        raise ProviderError(
            f"{where}: expected model.safetensors or pytorch_model.bin in {self.folder}, got "
            "neither. Download the whole model."
        )

    def sha256(self, files: Sequence[Path]) -> str:
        """Return one hash of some files and of every description beside them."""
        digest = hashlib.sha256()
        described = {*self.folder.glob("*.json"), *self.folder.glob("*.txt")}
        for path in sorted({*files, *described}, key=lambda path: path.name):
            digest.update(f"{path.name} {sha256_of(path)}\n".encode())
        return digest.hexdigest()


def find(model: str, revision: str | None, where: str) -> Source:
    """Return the folder of a model, downloading a snapshot of a hub's where that is needed.

    Raises
    ------
    OptionError
        If a revision is given for a folder.
    ProviderError
        If there is no such folder or name, or it cannot be had.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if revision is not None:
            raise OptionError(
                f"{where}: option 'revision': expected none for a folder, got {revision!r}. "
                "Leave it out."
            )
        return Source(path, "folder")
    if path.exists() or path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        what = "is a file" if path.exists() else "does not exist"
        raise ProviderError(
            f"{where}: model: {path} {what}. Give a folder with config.json, or a name of the hub."
        )
    return _snapshot(model, revision, where)


def _snapshot(model: str, revision: str | None, where: str) -> Source:
    from huggingface_hub import snapshot_download

    pinned = pin(model, revision, where)

    def snapshot(*patterns: str) -> Path:
        return Path(
            snapshot_download(
                model,
                revision=pinned.commit,
                local_files_only=pinned.is_cached,
                allow_patterns=list(patterns),
            )
        )

    try:
        folder = snapshot(*_SMALL)
        if not any(folder.glob("*.safetensors")):
            folder = snapshot(*_SMALL, *_OLDER)
    except Exception as error:  # the network in the middle of a download, a full disk
        raise ProviderError(
            f"{where}: model {model!r} cannot be had ({first_line(error)[:160]}). Try again, or "
            "give a folder."
        ) from None
    return Source(folder, folder.name)
