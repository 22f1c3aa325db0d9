"""BLIP's two encoders, and the network that reads a caption beside a picture.

The modules come from ``transformers``. No file is read here but through ``layout.py``.

Shapes: B images or queries, T image tokens, W their width, L text tokens, D the embedding (256).
"""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from dafm_core.errors import OptionError, ProviderError
from dafm_core.wrapping.blip.layout import (
    TextSizes,
    VisionSizes,
    text_sizes,
    text_tensors,
    vision_sizes,
    vision_tensors,
)
from dafm_core.wrapping.checkpoints import Weights, assign
from dafm_core.wrapping.inference import check_heads

Text = tuple[Tensor, Tensor]
"""Token ids and mask, (B, L) each."""


class ImageEncoder(nn.Module):
    """BLIP's vision transformer and the projection of its class token.

    With a ``dtype`` of half precision the transformer's linear layers compute in that; norms,
    positions and the residual stream stay float32.
    """

    def __init__(self, sizes: VisionSizes, n_heads: int, dtype: torch.dtype) -> None:
        super().__init__()
        config = BlipVisionConfig(
            hidden_size=sizes.width,
            intermediate_size=sizes.mlp_width,
            num_hidden_layers=sizes.depth,
            num_attention_heads=n_heads,
            image_size=sizes.image_size,
            patch_size=sizes.patch,
            hidden_act="gelu",
            layer_norm_eps=1e-6,
        )
        self.sizes, self.dtype = sizes, dtype
        self.vision = BlipVisionModel(config)
        self.proj = nn.Linear(sizes.width, sizes.n_features)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> all tokens after the last norm, (B, T, W)."""
        half = self.dtype != torch.float32
        with torch.autocast(pixels.device.type, dtype=self.dtype if half else None, enabled=half):
            tokens: Tensor = self.vision(pixel_values=pixels).last_hidden_state
        return tokens.float()

    def project(self, tokens: Tensor) -> Tensor:
        """(B, T, W) -> (B, D), not normalised."""
        features: Tensor = self.proj(tokens[:, 0])
        return features


class TextEncoder(nn.Module):
    """BLIP's BERT and the projection of its first token; ``vision_width`` adds cross-attention."""

    def __init__(self, sizes: TextSizes, n_heads: int, *, vision_width: int | None) -> None:
        super().__init__()
        config = BlipTextConfig(
            vocab_size=sizes.vocabulary,
            hidden_size=sizes.width,
            encoder_hidden_size=vision_width or sizes.width,
            intermediate_size=sizes.mlp_width,
            num_hidden_layers=sizes.depth,
            num_attention_heads=n_heads,
            max_position_embeddings=sizes.positions,
            hidden_act="gelu",
            layer_norm_eps=1e-12,
            is_decoder=vision_width is not None,  # it has cross-attention; no causal mask
        )
        self.sizes = sizes
        self.bert = BlipTextModel(config, add_pooling_layer=False)
        self.proj = nn.Linear(sizes.width, sizes.n_features)

    def forward(self, text: Text, image: Tensor | None = None) -> Tensor:
        """Text, read beside image tokens (B, T, W) where given -> (B, D), not normalised."""
        ids, mask = text
        hidden = self.bert(input_ids=ids, attention_mask=mask, encoder_hidden_states=image)
        features: Tensor = self.proj(hidden.last_hidden_state[:, 0])
        return features


class ImageGrounded(nn.Module):
    """The text encoder reads the caption beside all tokens of the reference (BLIP4CIR, CoVR)."""

    def __init__(self, images: ImageEncoder, texts: TextEncoder) -> None:
        super().__init__()
        self.images, self.texts = images, texts
        self.row_shape: tuple[int, ...] = (images.sizes.n_features,)

    def read(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> all image tokens, (B, T, W)."""
        tokens: Tensor = self.images(pixels)
        return tokens

    def candidate(self, seen: Tensor) -> Tensor:
        """Image tokens (B, T, W) -> unit vectors (B, D)."""
        return normalize(self.images.project(seen), dim=-1)

    def query(self, seen: Tensor, *text: Tensor) -> Tensor:
        """Return unit vectors (B, D) for references (B, T, W), token ids and mask."""
        return normalize(self.texts(trimmed(*text), seen), dim=-1)


def trimmed(ids: Tensor, mask: Tensor) -> Text:
    """Return a batch without the columns that are padding in all of its rows."""
    longest = int(mask.sum(dim=1).max())
    return ids[:, :longest], mask[:, :longest]


def load_images(
    weights: Weights, *, n_heads: int, dtype: torch.dtype, image_size: int | None = None
) -> ImageEncoder:
    """Build the image encoder a file describes, for another image size where one is given.

    Raises
    ------
    ProviderError
        If a tensor is missing or has another shape than the rest implies.
    OptionError
        If the heads or the image size do not divide.
    """
    stored = vision_sizes(weights)
    check_heads(n_heads, stored.width, option="vision_heads", where=weights.where)
    sizes = stored if image_size is None else _resized(stored, image_size, weights.where)
    with torch.device("meta"):
        encoder = ImageEncoder(sizes, n_heads, dtype)
    tensors = vision_tensors(weights, encoder)
    if sizes != stored:
        key = "vision.embeddings.position_embedding"
        name, positions = tensors[key]
        tensors[key] = name, _interpolated(positions, sizes.image_size // sizes.patch)
    linear = [n for n, m in encoder.vision.named_modules() if isinstance(m, nn.Linear)]
    halves = {f"vision.{name}.{part}": dtype for name in linear for part in ("weight", "bias")}
    assign(encoder, tensors, weights.where, dtype=halves)
    return encoder


def _resized(sizes: VisionSizes, image_size: int, where: str) -> VisionSizes:
    if image_size < sizes.patch or image_size % sizes.patch:
        raise OptionError(
            f"{where}: option 'image_size': expected a multiple of the patch size {sizes.patch}, "
            f"got {image_size}. The released model takes 384."
        )
    return replace(sizes, image_size=image_size)


def _interpolated(positions: Tensor, side: int) -> Tensor:
    """(1, 1 + n * n, W) -> (1, 1 + side * side, W); the class token keeps its own."""
    own, grid = positions[:, :1].float(), positions[:, 1:].float()
    n = isqrt(grid.shape[1])
    square = grid.reshape(1, n, n, -1).permute(0, 3, 1, 2)  # (1, W, n, n)
    square = interpolate(square, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([own, square.flatten(2).transpose(1, 2)], dim=1)


def load_texts(
    weights: Weights, *, n_heads: int, n_features: int, vision_width: int | None = None
) -> TextEncoder:
    """Build the text encoder a file describes.

    Raises
    ------
    ProviderError
        If a tensor is missing, or the embedding has another width than the image's.
    OptionError
        If the heads do not divide the width.
    """
    sizes = text_sizes(weights)
    check_heads(n_heads, sizes.width, option="text_heads", where=weights.where)
    check_features(sizes.n_features, n_features, weights.where)
    with torch.device("meta"):
        encoder = TextEncoder(sizes, n_heads, vision_width=vision_width)
    positions = {"bert.embeddings.position_ids": torch.arange(sizes.positions).unsqueeze(0)}
    assign(encoder, text_tensors(weights, encoder), weights.where, buffers=positions)
    return encoder


def check_features(got: int, expected: int, where: str) -> None:
    """Raise ProviderError unless an embedding is as wide as that of the image encoder."""
    if got != expected:
        raise ProviderError(
            f"{where}: expected embeddings of width {expected}, as the image encoder's, got {got}. "
            "Do the files belong together?"
        )
