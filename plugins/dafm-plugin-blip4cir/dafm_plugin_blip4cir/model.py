"""BLIP4CIR+Bi: two encoders apart, and what composes their features.

The image-grounded model is ``dafm_core.wrapping.blip.encoders.ImageGrounded``. No file is read.

Shapes: B images or queries, L text tokens, D the embedding (256).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from dafm_core.wrapping.blip.encoders import ImageEncoder, TextEncoder, check_features, trimmed
from dafm_core.wrapping.checkpoints import Weights, assign


class Combiner(nn.Module):
    """Late fusion of raw text and image features; names and order of layers are the file's."""

    def __init__(self, n_features: int, projection: int, hidden: int) -> None:
        super().__init__()
        self.text_projection_layer = nn.Linear(n_features, projection)
        self.image_projection_layer = nn.Linear(n_features, projection)
        self.combiner_layer = nn.Linear(2 * projection, hidden)
        self.output_layer = nn.Linear(hidden, n_features)
        self.dynamic_scalar = nn.Sequential(
            nn.Linear(2 * projection, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, 1)
        )

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """(B, D) twice, not normalised -> (B, D), not normalised."""
        projected = self.text_projection_layer(text), self.image_projection_layer(image)
        both = relu(torch.cat(projected, dim=-1))  # text first
        weight = self.dynamic_scalar(both).sigmoid()  # (B, 1)
        joint = self.output_layer(relu(self.combiner_layer(both)))
        mixed: Tensor = joint + weight * text + (1 - weight) * image
        return mixed


class BiDirectional(nn.Module):
    """BLIP4CIR+Bi: both encoders apart, then the Combiner; without one, their sum."""

    def __init__(self, images: ImageEncoder, texts: TextEncoder, combiner: Combiner | None) -> None:
        super().__init__()
        self.images, self.texts, self.combiner = images, texts, combiner
        self.row_shape: tuple[int, ...] = (images.sizes.n_features,)

    def read(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> raw image features (B, D): not normalised."""
        return self.images.project(self.images(pixels))

    def candidate(self, seen: Tensor) -> Tensor:
        """Raw image features -> unit vectors, (B, D)."""
        return normalize(seen, dim=-1)

    def query(self, seen: Tensor, *text: Tensor) -> Tensor:
        """Return unit vectors (B, D) for raw image features (B, D), token ids and mask."""
        return self.compose(seen, self.texts(trimmed(*text)))

    def compose(self, image: Tensor, text: Tensor) -> Tensor:
        """Raw features (B, D) twice -> unit vectors (B, D)."""
        mixed = self.combiner(image, text) if self.combiner else image + text
        return normalize(mixed, dim=-1)


def load_combiner(weights: Weights, *, n_features: int) -> Combiner:
    """Build the Combiner a file describes.

    Raises
    ------
    ProviderError
        If a tensor is missing, or it was made for embeddings of another width.
    """
    projection, width = weights.shape("text_projection_layer.weight", 2)
    check_features(width, n_features, weights.where)
    with torch.device("meta"):
        combiner = Combiner(width, projection, weights.shape("combiner_layer.weight", 2)[0])
    assign(combiner, {k: (k, weights.take(k)) for k in combiner.state_dict()}, weights.where)
    return combiner
