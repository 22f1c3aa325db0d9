"""Names and shapes of a BLIP of any size in the published layout, for tests and benchmarks.

Values come from ``dafm_core.wrapping.clip.random_weights.random_state``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

Shapes: TypeAlias = Iterator[tuple[str, tuple[int, ...]]]


def vision_shapes(
    *, width: int, n_layers: int, side: int, patch: int = 16, prefix: str = "visual_encoder."
) -> Shapes:
    """Yield the image encoder, a vision transformer on ``side * side`` patches."""
    yield f"{prefix}cls_token", (1, 1, width)
    yield f"{prefix}pos_embed", (1, side * side + 1, width)
    yield f"{prefix}patch_embed.proj.weight", (width, 3, patch, patch)
    yield f"{prefix}patch_embed.proj.bias", (width,)
    for i in range(n_layers):
        block = f"{prefix}blocks.{i}"
        yield from norm(f"{block}.norm1", width)
        yield from linear(f"{block}.attn.qkv", 3 * width, width)
        yield from linear(f"{block}.attn.proj", width, width)
        yield from norm(f"{block}.norm2", width)
        yield from linear(f"{block}.mlp.fc1", 4 * width, width)
        yield from linear(f"{block}.mlp.fc2", width, 4 * width)
    yield from norm(f"{prefix}norm", width)


def text_shapes(
    *,
    vision_width: int,
    width: int = 768,
    n_layers: int = 12,
    n_words: int = 30_524,
    n_positions: int = 512,
    prefix: str = "text_encoder.",
) -> Shapes:
    """Yield the text encoder, a BERT that looks at an image in every layer."""
    yield f"{prefix}embeddings.word_embeddings.weight", (n_words, width)
    yield f"{prefix}embeddings.position_embeddings.weight", (n_positions, width)
    yield from norm(f"{prefix}embeddings.LayerNorm", width)
    for i in range(n_layers):
        layer = f"{prefix}encoder.layer.{i}"
        yield from attention(f"{layer}.attention", width, width)
        yield from attention(f"{layer}.crossattention", width, vision_width)
        yield from feed_forward(layer, width)


def attention(key: str, width: int, seen: int) -> Shapes:
    """Yield an attention of BERT to what is ``seen`` wide, with the norm behind it."""
    yield from linear(f"{key}.self.query", width, width)
    yield from linear(f"{key}.self.key", width, seen)
    yield from linear(f"{key}.self.value", width, seen)
    yield from linear(f"{key}.output.dense", width, width)
    yield from norm(f"{key}.output.LayerNorm", width)


def feed_forward(layer: str, width: int, part: str = "") -> Shapes:
    """Yield what follows the attentions of a layer."""
    yield from linear(f"{layer}.intermediate{part}.dense", 4 * width, width)
    yield from linear(f"{layer}.output{part}.dense", width, 4 * width)
    yield from norm(f"{layer}.output{part}.LayerNorm", width)


def linear(key: str, n_out: int, n_in: int) -> Shapes:
    """Yield a matrix and its bias."""
    yield f"{key}.weight", (n_out, n_in)
    yield f"{key}.bias", (n_out,)


def norm(key: str, width: int) -> Shapes:
    """Yield scale and shift."""
    yield f"{key}.weight", (width,)
    yield f"{key}.bias", (width,)
