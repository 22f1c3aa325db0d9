"""The factories of ``pic2word``, ``searle`` and ``lincir``: options to files, files to a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, relu

from dafm_core.errors import OptionError, ProviderError
from dafm_core.ground.files import sha256_of
from dafm_core.wrapping.centre_square import CentreSquare
from dafm_core.wrapping.checkpoints import Weights, assign, read_checkpoint
from dafm_core.wrapping.clip.state_dict import Clip
from dafm_core.wrapping.clip.tokenizer import ClipTokenizer
from dafm_core.wrapping.encoding import Preprocessing, TorchEncoder
from dafm_core.wrapping.inference import Settings
from dafm_core.wrapping.target_pad import TargetPad
from dafm_plugin_clip.backbone import clip_of_openai, load_clip
from dafm_plugin_clip.prompts import Orders, PromptTokenizer, both_orders, second_first
from dafm_plugin_clip.pseudo_word import Phi, PseudoWord

_RELEASED = {512: "openai/clip-vit-base-patch32", 768: "openai/clip-vit-large-patch14"}
"""Width of phi's input -> the CLIP that a release was trained with."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """What makes one of the three.

    Parameters
    ----------
    name : str
    entry : str
        Where phi stands in a file.
    placeholder : int
        Token id.
    every : bool
        Whether every placeholder of a text is replaced.
    activation : callable
        Of phi.
    orders : callable
        What becomes of FashionIQ's two captions.
    preprocessing : callable
        Side of the picture -> preprocessing.
    """

    name: str
    entry: str
    placeholder: int
    every: bool
    activation: Callable[[Tensor], Tensor]
    orders: Orders
    preprocessing: Callable[[int], Preprocessing]


PIC2WORD = Method(
    name="pic2word",
    entry="state_dict_img2text",
    placeholder=265,
    every=False,
    activation=relu,
    orders=second_first,
    preprocessing=lambda side: CentreSquare(side, rgb="last"),
)
SEARLE = Method(
    name="searle",
    entry="Phi",
    placeholder=259,
    every=False,
    activation=gelu,
    orders=both_orders,
    preprocessing=lambda side: TargetPad(side, deep="saturate"),
)
LINCIR = Method(
    name="lincir",
    entry="Phi",
    placeholder=259,
    every=True,
    activation=gelu,
    orders=both_orders,
    preprocessing=lambda side: CentreSquare(side, offset="floored"),
)


def load_pic2word(
    *,
    checkpoint: Path,
    vocabulary: str,
    model: str | None = None,
    template: str = "a photo of * , {caption}",
    captions: str = "one",
    revision: str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 32,
    workers: int = 0,
) -> TorchEncoder[PseudoWord]:
    """Load Pic2Word; the CLIP inside its file is used unless ``model`` is given.

    Raises
    ------
    OptionError
        If an option makes no sense, or ``model`` is needed.
    ProviderError
        If a file is missing, damaged, unsafe, or another model's.
    """
    settings = Settings.checked(
        PIC2WORD.name, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    return _load(
        PIC2WORD,
        settings,
        checkpoint=checkpoint,
        vocabulary=vocabulary,
        model=model,
        template=template,
        captions=captions,
        revision=revision,
    )


def load_searle(
    *,
    checkpoint: Path,
    vocabulary: str,
    model: str | None = None,
    template: str = "a photo of $ that {caption}",
    captions: str = "one",
    revision: str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 32,
    workers: int = 0,
) -> TorchEncoder[PseudoWord]:
    """Load SEARLE or SEARLE-XL; errors as of :func:`load_pic2word`."""
    settings = Settings.checked(
        SEARLE.name, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    return _load(
        SEARLE,
        settings,
        checkpoint=checkpoint,
        vocabulary=vocabulary,
        model=model,
        template=template,
        captions=captions,
        revision=revision,
    )


def load_lincir(
    *,
    checkpoint: Path,
    vocabulary: str,
    model: str | None = None,
    template: str = "a photo of $ that {caption}",
    captions: str = "one",
    revision: str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 32,
    workers: int = 0,
    float16_rounding: bool = True,
) -> TorchEncoder[PseudoWord]:
    """Load LinCIR; errors as of :func:`load_pic2word`."""
    settings = Settings.checked(
        LINCIR.name, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    return _load(
        LINCIR,
        settings,
        checkpoint=checkpoint,
        vocabulary=vocabulary,
        model=model,
        template=template,
        captions=captions,
        revision=revision,
        rounds=float16_rounding,
    )


def _load(
    method: Method,
    settings: Settings,
    *,
    checkpoint: Path,
    vocabulary: str,
    model: str | None,
    template: str,
    captions: str,
    revision: str | None,
    rounds: bool = False,
) -> TorchEncoder[PseudoWord]:
    where, checkpoint = method.name, Path(checkpoint)
    _check_name(checkpoint, where)
    content = read_checkpoint(checkpoint, f"{where}: checkpoint")
    phi = _phi(content, method, f"{where}: checkpoint")
    if model is None and method is PIC2WORD and "state_dict" in content:
        weights = Weights.from_content(content, f"{where}: checkpoint", entry="state_dict")
        clip = clip_of_openai(weights, dtype=settings.dtype, float16_rounding=False)
        passport = {"clip": "in the checkpoint"}
    else:
        name = model or _released(phi.n_in, where)
        clip, passport = load_clip(
            name, revision, where, dtype=settings.dtype, float16_rounding=rounds
        )
    _check_widths(clip, phi, where)
    tokenizer = ClipTokenizer.for_model(
        vocabulary,
        n_tokens=clip.text.n_tokens,
        context_length=clip.text.context_length,
        where=where,
    )
    prompts = PromptTokenizer(
        tokenizer,
        template=template,
        placeholder=method.placeholder,
        captions=captions,
        orders=method.orders,
    )
    fingerprint = {
        "model": where,
        "checkpoint_sha256": sha256_of(checkpoint),
        **passport,
        "text_template": template,
        "captions": captions,
        "dtype": settings.dtype_name,
        "float16_rounding": str(rounds).lower(),
    }
    return TorchEncoder(
        PseudoWord(clip, phi, placeholder=method.placeholder, every=method.every, rounds=rounds),
        tokenizer=prompts,
        preprocessing=method.preprocessing(clip.vision.resolution),
        settings=settings,
        fingerprint=fingerprint,
        keep_read=not rounds,  # a vector of 3 KB an image; rounded, it differs by side
    )


def _check_name(checkpoint: Path, where: str) -> None:
    """Refuse a file that is called after another of the methods: nothing inside would tell."""
    name = checkpoint.name.lower()
    others = [m.name for m in (PIC2WORD, SEARLE, LINCIR) if m.name != where and m.name in name]
    if others and where not in name:
        raise ProviderError(
            f"{where}: checkpoint: expected a file of {where}, got one called {checkpoint.name}. "
            f"Use --provider {others[0]}, or rename the file."
        )


def _phi(content: Any, method: Method, where: str) -> Phi:
    entries = content if isinstance(content, Mapping) else {}
    if method.entry not in entries:
        if "Phi" in entries:
            raise ProviderError(
                f"{where}: expected Pic2Word, got a file of SEARLE or LinCIR. "
                "Use --provider searle or lincir."
            )
        if "state_dict_img2text" in entries:
            raise ProviderError(
                f"{where}: expected {method.name}, got a file of Pic2Word. Use --provider pic2word."
            )
    weights = Weights.from_content(content, where, entry=method.entry)
    names = ["layers.0", "layers.3", "layers.6"]
    if method is PIC2WORD:
        names = [*(f"layers.{i}.0" for i in range(weights.count("layers"))), "fc_out"]
    shapes = [weights.shape(f"{name}.weight", 2) for name in names]
    with torch.device("meta"):
        phi = Phi([shapes[0][1], *(shape[0] for shape in shapes)], method.activation)
    tensors = {
        f"layers.{i}.{part}": (f"{name}.{part}", weights.take(f"{name}.{part}"))
        for i, name in enumerate(names)
        for part in ("weight", "bias")
    }
    assign(phi, tensors, where)
    weights.report_unused()
    return phi


def _released(embed_dim: int, where: str) -> str:
    if embed_dim not in _RELEASED:
        raise OptionError(
            f"{where}: option 'model' is required: no released CLIP has features of width "
            f"{embed_dim}. Give the one that the checkpoint was trained with."
        )
    return _RELEASED[embed_dim]


def _check_widths(clip: Clip, phi: Phi, where: str) -> None:
    width = clip.text.model.text_model.embeddings.token_embedding.weight.shape[1]
    if (phi.n_in, phi.n_out) != (clip.text.embed_dim, width):
        raise ProviderError(
            f"{where}: checkpoint: expected phi from width {clip.text.embed_dim} to {width}, as "
            f"the CLIP's features and tokens, got {phi.n_in} to {phi.n_out}. "
            "Give the CLIP that the checkpoint was trained with as model."
        )
