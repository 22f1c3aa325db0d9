"""The factories of both providers: options to checked files, files to a loaded model."""

from __future__ import annotations

from pathlib import Path

from dafm_core.ground.files import sha256_of
from dafm_core.wrapping.clip.tokenizer import ClipTokenizer
from dafm_core.wrapping.encoding import TorchEncoder
from dafm_core.wrapping.inference import Settings
from dafm_core.wrapping.target_pad import TargetPad
from dafm_plugin_clip4cir.loading import check_pair, load_clip, load_combiner
from dafm_plugin_clip4cir.model import Clip4Cir, SumQuery


def load(
    *,
    checkpoint: Path,
    vocabulary: str,
    combiner: Path | None = None,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 16,
    workers: int = 0,
    float16_rounding: bool = False,
) -> TorchEncoder[Clip4Cir]:
    """Return CLIP4CIR: with a Combiner the full method, without one the first stage alone.

    Parameters
    ----------
    checkpoint, combiner : Path
        The released files, ``{"epoch", "CLIP"}`` and ``{"epoch", "Combiner"}``.
    vocabulary : str
        As :func:`~dafm_core.wrapping.clip.tokenizer.read_merges` takes it.
    device : str, optional
        A GPU where there is one, else the CPU.
    dtype : {"float32", "float16", "bfloat16"}, default="float32"
        What the towers compute in; the published numbers are float32.
    batch_size : int, default=16
        Images or texts in one pass.
    workers : int, default=0
        Processes that decode images.
    float16_rounding : bool, default=False
        Round weights as the authors' GPU runs did.

    Raises
    ------
    OptionError
        If an option cannot be used, or the two files are of different datasets by their names.
    ProviderError
        If a file is missing, damaged or of another model.
    """
    where = "clip4cir" if combiner else "clip4cir-sum"
    settings = Settings.checked(
        where, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    if combiner:
        check_pair(Path(checkpoint), Path(combiner), where)
    clip = load_clip(
        Path(checkpoint), where, dtype=settings.dtype, float16_rounding=float16_rounding
    )
    width = clip.text.embed_dim
    combine = load_combiner(Path(combiner), where, embed_dim=width) if combiner else SumQuery()
    tokenizer = ClipTokenizer.for_model(
        vocabulary,
        n_tokens=clip.text.n_tokens,
        context_length=clip.text.context_length,
        where=where,
    )
    fingerprint = {
        "checkpoint_sha256": sha256_of(Path(checkpoint)),
        "combiner_sha256": sha256_of(Path(combiner)) if combiner else "none, sum of features",
        "dtype": dtype,
        "float16_rounding": str(float16_rounding).lower(),
    }
    return TorchEncoder(
        Clip4Cir(clip, combine),
        tokenizer=tokenizer,
        preprocessing=TargetPad(clip.vision.resolution, deep="saturate"),
        settings=settings,
        fingerprint=fingerprint,
    )


def load_sum(
    *,
    checkpoint: Path,
    vocabulary: str,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 16,
    workers: int = 0,
    float16_rounding: bool = False,
) -> TorchEncoder[Clip4Cir]:
    """Return the first stage of CLIP4CIR alone; as :func:`load` without a Combiner."""
    return load(
        checkpoint=checkpoint,
        vocabulary=vocabulary,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        workers=workers,
        float16_rounding=float16_rounding,
    )
