"""Random CLIP state dicts of any size in the published layout, for tests and benchmarks.

They know nothing; they are as large as the real ones and flow through the same code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Shapes: TypeAlias = Iterator[tuple[str, tuple[int, ...]]]


def random_state(shapes: Iterable[tuple[str, tuple[int, ...]]], *, seed: int) -> dict[str, Tensor]:
    """Return tensors of the given names and shapes, scaled so that deep networks stay finite."""
    generator = torch.Generator().manual_seed(seed)
    return {key: _random(key, shape, generator) for key, shape in shapes}


def _random(key: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(1)
    values = torch.randn(shape, generator=generator)
    if key.endswith("running_var"):
        return values.mul_(0.1).exp_()
    if len(shape) < 2:  # norms are near one, biases near zero
        return values.mul_(0.1).add_(float(key.endswith("weight")))
    fan_in = (
        shape[0] if key.endswith(("proj", "text_projection")) else torch.Size(shape[1:]).numel()
    )
    return values.mul_(fan_in**-0.5)


def text_shapes(
    *, width: int, n_layers: int, embed_dim: int, n_tokens: int = 49_408, context_length: int = 77
) -> Shapes:
    """Yield the names and shapes of the text tower, with the temperature that nothing uses."""
    yield "token_embedding.weight", (n_tokens, width)
    yield "positional_embedding", (context_length, width)
    yield "text_projection", (width, embed_dim)
    yield "logit_scale", ()
    yield from _norm("ln_final", width)
    yield from _blocks("transformer", width, n_layers)


def vit_shapes(
    *, width: int, n_layers: int, patch: int, side: int, embed_dim: int, prefix: str = "visual."
) -> Shapes:
    """Yield the names and shapes of a vision transformer on ``side * side`` patches."""
    yield f"{prefix}class_embedding", (width,)
    yield f"{prefix}positional_embedding", (side * side + 1, width)
    yield f"{prefix}proj", (width, embed_dim)
    yield f"{prefix}conv1.weight", (width, 3, patch, patch)
    yield from _norm(f"{prefix}ln_pre", width)
    yield from _norm(f"{prefix}ln_post", width)
    yield from _blocks(f"{prefix}transformer", width, n_layers)


def resnet_shapes(
    *, width: int, n_blocks: Sequence[int], side: int, embed_dim: int, prefix: str = "visual."
) -> Shapes:
    """Yield the names and shapes of a modified ResNet for images of ``32 * side`` pixels."""
    for i, (n_in, n_out) in enumerate(
        [(3, width // 2), (width // 2, width // 2), (width // 2, width)]
    ):
        yield from _conv(f"{prefix}conv{i + 1}", f"{prefix}bn{i + 1}", (n_out, n_in, 3, 3))
    n_in = width
    for stage, n in enumerate(n_blocks):
        inner = width * 2**stage
        for j in range(n):
            at = f"{prefix}layer{stage + 1}.{j}"
            yield from _conv(f"{at}.conv1", f"{at}.bn1", (inner, n_in, 1, 1))
            yield from _conv(f"{at}.conv2", f"{at}.bn2", (inner, inner, 3, 3))
            yield from _conv(f"{at}.conv3", f"{at}.bn3", (4 * inner, inner, 1, 1))
            if j == 0:
                shape = (4 * inner, n_in, 1, 1)
                yield from _conv(f"{at}.downsample.0", f"{at}.downsample.1", shape)
            n_in = 4 * inner
    yield f"{prefix}attnpool.positional_embedding", (side * side + 1, n_in)
    for name in ("q_proj", "k_proj", "v_proj"):
        yield from _linear(f"{prefix}attnpool.{name}", n_in, n_in)
    yield from _linear(f"{prefix}attnpool.c_proj", embed_dim, n_in)


def _linear(key: str, n_out: int, n_in: int) -> Shapes:
    yield f"{key}.weight", (n_out, n_in)
    yield f"{key}.bias", (n_out,)


def _norm(key: str, width: int) -> Shapes:
    yield f"{key}.weight", (width,)
    yield f"{key}.bias", (width,)


def _conv(key: str, norm: str, shape: tuple[int, ...]) -> Shapes:
    yield f"{key}.weight", shape
    yield from _norm(norm, shape[0])
    yield f"{norm}.running_mean", (shape[0],)
    yield f"{norm}.running_var", (shape[0],)
    yield f"{norm}.num_batches_tracked", ()


def _blocks(key: str, width: int, n_layers: int) -> Shapes:
    for i in range(n_layers):
        at = f"{key}.resblocks.{i}"
        yield f"{at}.attn.in_proj_weight", (3 * width, width)
        yield f"{at}.attn.in_proj_bias", (3 * width,)
        yield from _linear(f"{at}.attn.out_proj", width, width)
        yield from _norm(f"{at}.ln_1", width)
        yield from _norm(f"{at}.ln_2", width)
        yield from _linear(f"{at}.mlp.c_fc", 4 * width, width)
        yield from _linear(f"{at}.mlp.c_proj", width, 4 * width)
