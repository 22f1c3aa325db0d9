"""The factory of ``tgcir``: options to checked files, files to a provider."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from dafm_core.errors import OptionError, closest
from dafm_core.ground.files import sha256_of
from dafm_core.wrapping.centre_square import CentreSquare
from dafm_core.wrapping.clip.tokenizer import ClipTokenizer
from dafm_core.wrapping.encoding import TorchEncoder
from dafm_core.wrapping.inference import Settings
from dafm_plugin_tgcir.corrections import CleaningTokenizer, read_corrections
from dafm_plugin_tgcir.loading import load_tgcir
from dafm_plugin_tgcir.model import TgCir

logger = logging.getLogger(__name__)

CLEANINGS = ("none", "fashioniq")
"""What is done to a text: nothing (CIRR), or FashionIQ's clean-up."""


def load(
    *,
    checkpoint: Path,
    vocabulary: str,
    cleaning: str | None = None,
    corrections: Path | None = None,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 32,
    workers: int = 0,
) -> TorchEncoder[TgCir]:
    """Return TG-CIR.

    Parameters
    ----------
    checkpoint : Path
        The released pickled module (read as data, never executed), a state dict, or
        ``{"state_dict": ...}``.
    vocabulary : str
        As :func:`~dafm_core.wrapping.clip.tokenizer.read_merges` takes it.
    cleaning : {"none", "fashioniq"}, optional
        What is done to a text; FashionIQ's clean-up where ``corrections`` is given, else nothing.
    corrections : Path, optional
        Spelling corrections of one FashionIQ category, flat JSON, word -> replacement.
    device : str, optional
        A GPU where there is one, else the CPU.
    dtype : {"float32", "float16", "bfloat16"}, default="float32"
        What the towers compute in; the published numbers are float32.
    batch_size : int, default=32
        Images or texts in one pass.
    workers : int, default=0
        Processes that decode images.

    Raises
    ------
    OptionError
        If an option cannot be used.
    ProviderError
        If a file is missing, damaged or of another model, or would have to be executed.
    """
    where, checkpoint = "tgcir", Path(checkpoint)
    settings = Settings.checked(
        where, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    cleaning = cleaning or ("fashioniq" if corrections else "none")
    words = _corrections(cleaning, corrections, where)
    model = load_tgcir(checkpoint, where, dtype=settings.dtype)
    tokenizer = ClipTokenizer.for_model(
        vocabulary,
        n_tokens=model.text.n_tokens,
        context_length=model.text.context_length,
        where=where,
    )
    fingerprint = {
        "checkpoint_sha256": sha256_of(checkpoint),
        "dtype": dtype,
        "cleaning": cleaning,
        "corrections_sha256": sha256_of(Path(corrections)) if corrections else "none",
    }
    return TorchEncoder(
        model,
        tokenizer=CleaningTokenizer(tokenizer, words),
        preprocessing=CentreSquare(model.vision.resolution),
        settings=settings,
        fingerprint=fingerprint,
    )


def _corrections(cleaning: str, corrections: Path | None, where: str) -> Mapping[str, str] | None:
    if cleaning not in CLEANINGS:
        raise OptionError(f"{where}: cleaning {cleaning!r}{closest(cleaning, CLEANINGS)}")
    if cleaning == "none":
        if corrections:
            raise OptionError(
                f"{where}: expected cleaning=fashioniq with corrections, got {cleaning!r}. "
                "Leave one of the two out."
            )
        return None
    if corrections:
        return read_corrections(Path(corrections), where)
    logger.warning("%s: no corrections are given: words stay as they are spelt", where)
    return {}
