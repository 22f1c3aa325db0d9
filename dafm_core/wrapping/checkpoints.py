"""Reading published PyTorch checkpoints: safely, without a second copy, with errors that name them.

For plugins that wrap a released model. Here: opening a file without executing anything in it, its
sha256, a state dict that knows which of its tensors were used, and handing tensors to a module
that was built on the meta device. Not here: what the file of any model contains, which its plugin
knows. torch is imported inside the functions, so that importing this module stays light.

A loader usually reads ::

    weights = Weights.from_content(read_checkpoint(path, where), where, entry="state_dict")
    with torch.device("meta"):
        model = Model(width=weights.shape("proj.weight", 2)[0], depth=weights.count("blocks"))
    assign(model, {key: (key, weights.take(key)) for key in model.state_dict()}, where)
    weights.report_unused(ignored=("logit_scale",))

``where`` starts every message: provider and role of the file, such as ``"tgcir: checkpoint"``.
"""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafm_core.errors import ProviderError
from dafm_core.ground.platform import page_out
from dafm_core.ground.sources import check_archive
from dafm_core.wrapping.inert import Inert, safe_globals

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

logger = logging.getLogger(__name__)

_OTHER_FILE = "Is this the right file?"
_OTHER_MODEL = "Is this the checkpoint of another model?"


def read_checkpoint(path: Path, where: str, *, inert: Iterable[str] = ()) -> Any:
    """Return what ``torch.save`` wrote; tensors are on the CPU, and nothing in the file is
    executed. Harmless Python values beside them (``inert.STAND_INS``) come as plain values.

    An archive (torch 1.6 and newer) is memory-mapped; the older stream format is read at once.

    Parameters
    ----------
    path : Path
    where : str
        Start of every error message.
    inert : iterable of str
        Classes of the authors' that their files name and nobody needs, such as
        ``"src.scheduler.Cosine"``: an empty object comes in place of each.

    Raises
    ------
    ProviderError
        If the file is missing, damaged, no torch file, or needs code to be executed.
    """
    import torch

    is_archive = _check_file(path, where)
    inert = frozenset(inert)
    allowed = [*safe_globals(), *((Inert, name) for name in inert)]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about kinds of tensors it will drop
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive or None)
    except Exception as error:  # a damaged or hostile pickle may raise anything: all is bad input
        if names := [n for n in unsafe_names(path) if n not in inert] if is_archive else []:
            raise ProviderError(
                f"{where}: expected tensors only, got {path}, which would execute "
                f"{', '.join(names[:3])}. Nothing was executed; take the file from its authors."
            ) from None
        raise ProviderError(
            f"{where}: {path} is damaged or not a torch checkpoint ({_first_line(error)}). "
            "Download it again and compare its size."
        ) from None


def unsafe_names(path: Path) -> list[str]:
    """Return the classes and functions that unpickling an archive would need, without loading it.

    Names that another part of the process has allowed through ``torch.serialization`` are not
    listed; a file that cannot be scanned (damaged, or in the older stream format) has none.
    """
    import torch

    try:
        with torch.serialization.safe_globals(safe_globals()):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # as in read_checkpoint, which then says what is wrong
        return []


def _check_file(path: Path, where: str) -> bool:
    """Whether a file is an archive; raise ProviderError where it cannot be a checkpoint at all."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ProviderError(f"{where}: {path} {what}. Give the file its authors publish.")
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            check_archive(archive, path.stat().st_size)
    except (zipfile.BadZipFile, NotImplementedError):  # damaged, or of another version
        return True  # torch's reader says why
    except ValueError as error:
        raise ProviderError(f"{where}: {path}: {error}. Is this the right file?") from None
    if any(name.endswith("/constants.pkl") for name in names):
        raise ProviderError(
            f"{where}: expected a state dict, got {path}, a TorchScript archive, which is a "
            "program. Give the file its authors publish."
        )
    return True


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0].rstrip(".")[:160]


class Weights:
    """The tensors of one state dict: every access is checked, and what nobody took is reported."""

    def __init__(self, tensors: Mapping[str, Tensor], where: str) -> None:
        self.where = where
        self._tensors = dict(tensors)
        self._taken: set[str] = set()

    @classmethod
    def from_content(cls, content: Any, where: str, *, entry: str | None = None) -> Weights:
        """Return the state dict in what :func:`read_checkpoint` gave.

        If every key starts with ``module.`` (saved from a parallel wrapper), that is removed once.

        Parameters
        ----------
        content : object
            The content of the file.
        where : str
            Start of every error message.
        entry : str, optional
            Key of the state dict in ``content``; without it ``content`` itself is the state dict.

        Raises
        ------
        ProviderError
            If the entry is missing, or is not a mapping of names to tensors.
        """
        import torch

        if entry is not None:
            if not isinstance(content, Mapping) or entry not in content:
                got = _describe(content)
                raise ProviderError(
                    f"{where}: expected an entry {entry!r}, got {got}. {_OTHER_FILE}"
                )
            content = content[entry]
        if not isinstance(content, Mapping) or not content:
            got = _describe(content)
            raise ProviderError(f"{where}: expected a state dict, got {got}. {_OTHER_FILE}")
        for key, value in content.items():
            if not isinstance(key, str) or not isinstance(value, torch.Tensor):
                raise ProviderError(
                    f"{where}: expected tensors by name, got {type(value).__name__} for {key!r}. "
                    f"{_OTHER_FILE}"
                )
        prefix = "module."
        if all(key.startswith(prefix) for key in content):
            content = {key.removeprefix(prefix): value for key, value in content.items()}
        return cls(content, where)

    def __contains__(self, key: object) -> bool:
        return key in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def take(self, key: str) -> Tensor:
        """Return a tensor and mark it as used; raise ProviderError where the file lacks it."""
        if key not in self._tensors:
            raise ProviderError(
                f"{self.where}: expected a tensor {key!r}, got none. {_OTHER_MODEL}"
            )
        self._taken.add(key)
        return self._tensors[key]

    def shape(self, key: str, n_dims: int) -> tuple[int, ...]:
        """Return the shape of a tensor, without marking it as used.

        Raises
        ------
        ProviderError
            If the tensor is missing, empty, or has not ``n_dims`` dimensions.
        """
        if key not in self._tensors:
            self.take(key)
        shape = tuple(self._tensors[key].shape)
        if len(shape) != n_dims or 0 in shape:
            raise ProviderError(
                f"{self.where}: expected {n_dims} dimensions for {key!r}, got shape {shape}. "
                f"{_OTHER_MODEL}"
            )
        return shape

    def count(self, prefix: str) -> int:
        """Return n where the file has keys ``prefix.0.*`` to ``prefix.{n-1}.*``.

        Indices are compared as numbers, never in the order of strings.

        Raises
        ------
        ProviderError
            If there are none, or one is missing in between.
        """
        start = f"{prefix}."
        tails = (key.removeprefix(start) for key in self._tensors if key.startswith(start))
        found = sorted({int(head) for tail in tails if (head := tail.split(".")[0]).isdecimal()})
        if not found or found[-1] != len(found) - 1:
            raise ProviderError(
                f"{self.where}: expected {prefix}.0, {prefix}.1, ... without a gap, got "
                f"{found or 'none'}. {_OTHER_MODEL}"
            )
        return len(found)

    def unused(self, ignored: Iterable[str] = ()) -> list[str]:
        """Return the keys nobody took, sorted, except those that start with one of ``ignored``."""
        start = tuple(ignored)
        return sorted(
            key for key in self._tensors.keys() - self._taken if not key.startswith(start)
        )

    def report_unused(self, ignored: Iterable[str] = ()) -> None:
        """Log one warning that names the keys of :meth:`unused`, if there are any."""
        if keys := self.unused(ignored):
            logger.warning(
                "%s: %d tensors are not used: %s", self.where, len(keys), ", ".join(keys)
            )


def assign(
    module: nn.Module,
    tensors: Mapping[str, tuple[str, Tensor]],
    where: str,
    *,
    dtype: torch.dtype | Mapping[str, torch.dtype] | None = None,
    buffers: Mapping[str, Tensor] | None = None,
) -> None:
    """Make tensors the parameters of a module built on the meta device, without copying them.

    The module is left in evaluation mode, without gradients, and with nothing on the meta device.

    Parameters
    ----------
    module : nn.Module
        Built under ``torch.device("meta")``.
    tensors : mapping of str to (str, Tensor)
        Key in the module -> key in the file, for messages, and the tensor.
    where : str
        Start of the error message.
    dtype : torch.dtype or mapping of str to torch.dtype, optional
        What floating-point tensors are cast to, one for all or by key in the module; float32 where
        left out. Those that have it already keep their memory.
    buffers : mapping of str to Tensor, optional
        Buffers that no state dict holds (position indices), by their key in the module.

    Raises
    ------
    ProviderError
        If a tensor has another shape or kind of number than the module expects.
    """
    import torch

    expected, state = module.state_dict(), {}
    of_key = dtype if isinstance(dtype, Mapping) else dict.fromkeys(expected, dtype)
    for key, (name, tensor) in tensors.items():
        want = expected[key]
        if tensor.shape != want.shape or tensor.is_floating_point() != want.is_floating_point():
            raise ProviderError(
                f"{where}: expected {_kind(want)} for {name!r}, got {_kind(tensor)}. {_OTHER_MODEL}"
            )
        is_float = tensor.is_floating_point()
        state[key] = tensor.detach().to(of_key.get(key) or torch.float32) if is_float else tensor
        if state[key].dtype != tensor.dtype:
            _page_out(tensor)
    module.load_state_dict(state, strict=True, assign=True)
    for key, buffer in (buffers or {}).items():
        owner, _, name = key.rpartition(".")
        module.get_submodule(owner).register_buffer(name, buffer, persistent=False)
    left = [k for k, t in (*module.named_parameters(), *module.named_buffers()) if t.is_meta]
    if left:
        raise AssertionError(f"left on the meta device: {', '.join(left)}")
    module.eval().requires_grad_(False)


def _page_out(tensor: Tensor) -> None:
    """Let go of the pages of a mapped file, a copy of which was made.

    Otherwise a file of float16 stays in memory beside the float32 made of it.
    """
    if tensor.is_contiguous():
        page_out(tensor.data_ptr(), tensor.numel() * tensor.element_size())


def _kind(tensor: Tensor) -> str:
    numbers = "real" if tensor.is_floating_point() else "whole"
    return f"shape {tuple(tensor.shape)} of {numbers} numbers"


def _describe(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    names = ", ".join(str(key) for key in list(content)[:4]) + (", ..." if len(content) > 4 else "")
    return f"{len(content)} entries ({names})"
