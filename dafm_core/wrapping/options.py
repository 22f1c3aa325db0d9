"""The options of ``--set`` that plugins with a torch model share: where to compute, and how much.

Described once, so that they have one name and one meaning everywhere; ``Settings.checked`` in
``inference.py`` takes what they give. Imports neither NumPy nor torch: a listing reads this.
"""

from __future__ import annotations

from dafm_core.contract.descriptions import Option

DTYPES = ("float32", "float16", "bfloat16")
"""Choices of the option ``dtype``."""


def compute_options(
    *, batch_size: int, dtype: str = "what the towers compute in"
) -> tuple[Option, ...]:
    """Return ``device``, ``dtype``, ``batch_size`` and ``workers``.

    Parameters
    ----------
    batch_size : int
        Its default: the factory's own.
    dtype : str
        What computes in it, as a summary.
    """
    return (
        Option(name="device", summary="cpu, cuda, cuda:1, ...; a GPU where there is one"),
        Option(name="dtype", default="float32", choices=DTYPES, summary=dtype),
        Option(
            name="batch_size",
            kind="int",
            default=batch_size,
            summary="images or queries in one pass",
        ),
        Option(name="workers", kind="int", default=0, summary="processes that decode images"),
    )


def clip_vocabulary(default: str = "openai/clip-vit-base-patch16") -> Option:
    """Return ``vocabulary`` of models behind CLIP's tokeniser."""
    return Option(
        name="vocabulary",
        default=default,
        summary="CLIP merges: bpe_simple_vocab_16e6.txt.gz, merges.txt, a folder or a model name",
    )


BERT_VOCABULARY = Option(
    name="vocabulary",
    default="bert-base-uncased",
    summary="WordPiece vocabulary: vocab.txt, a folder, or a model name",
)
"""``vocabulary`` of models behind BERT's tokeniser."""

ENCODER_DTYPE = "matrices of the image encoder; everything after it is float32"
"""Summary of ``dtype`` for BLIP and BLIP-2."""

CAPTIONS = Option(
    name="captions",
    default="one",
    choices=("one", "lines"),
    summary="lines: a text is FashionIQ's two raw captions, one a line",
)
"""``captions`` of models that compose FashionIQ's two captions in a way of their own."""
