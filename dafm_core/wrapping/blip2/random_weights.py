"""Names and shapes of a BLIP-2 of any size in the published layout, for tests and benchmarks."""

from __future__ import annotations

from dafm_core.wrapping.blip.random_weights import Shapes, attention, feed_forward, linear, norm


def eva_shapes(*, width: int, mlp: int, n_layers: int, side: int, patch: int = 14) -> Shapes:
    """Yield EVA's image encoder on ``side * side`` patches, and the norm behind it."""
    yield "visual_encoder.cls_token", (1, 1, width)
    yield "visual_encoder.pos_embed", (1, side * side + 1, width)
    yield "visual_encoder.patch_embed.proj.weight", (width, 3, patch, patch)
    yield "visual_encoder.patch_embed.proj.bias", (width,)
    for i in range(n_layers):
        block = f"visual_encoder.blocks.{i}"
        yield from norm(f"{block}.norm1", width)
        yield f"{block}.attn.q_bias", (width,)
        yield f"{block}.attn.v_bias", (width,)
        yield f"{block}.attn.qkv.weight", (3 * width, width)
        yield from linear(f"{block}.attn.proj", width, width)
        yield from norm(f"{block}.norm2", width)
        yield from linear(f"{block}.mlp.fc1", mlp, width)
        yield from linear(f"{block}.mlp.fc2", width, mlp)
    yield from norm("ln_vision", width)


def qformer_shapes(
    *,
    vision_width: int,
    width: int = 768,
    n_layers: int = 12,
    n_words: int = 30_523,
    n_positions: int = 512,
    prefix: str = "Qformer.",
) -> Shapes:
    """Yield a Q-Former, which looks at an image in every second layer, with its unused head."""
    yield f"{prefix}bert.embeddings.word_embeddings.weight", (n_words, width)
    yield f"{prefix}bert.embeddings.position_embeddings.weight", (n_positions, width)
    yield from norm(f"{prefix}bert.embeddings.LayerNorm", width)
    for i in range(n_layers):
        layer = f"{prefix}bert.encoder.layer.{i}"
        yield from attention(f"{layer}.attention", width, width)
        if i % 2 == 0:
            yield from attention(f"{layer}.crossattention", width, vision_width)
        for part in ("", "_query"):
            yield from feed_forward(layer, width, part)
    yield f"{prefix}cls.predictions.bias", (n_words,)
    yield f"{prefix}cls.predictions.decoder.weight", (n_words, width)
