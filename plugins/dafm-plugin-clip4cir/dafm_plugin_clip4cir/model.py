"""CLIP4CIR: two towers of CLIP, and what makes one feature of a query's image and text.

No files here: see ``loading.py``.

References
----------
Baldrati et al., "Composed Image Retrieval using Contrastive Learning and Task-oriented CLIP-based
Features", ACM TOMM 2023, arXiv 2308.11485.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dafm_core.wrapping.clip.state_dict import Clip


class Combiner(nn.Module):
    """A learned feature plus a learned convex mixture of the two it is made from.

    Parameters
    ----------
    embed_dim : int
        D, width of the CLIP features.
    projection_dim : int
        P, width of each projection.
    hidden_dim : int
        H, width of the hidden layers.
    """

    def __init__(self, embed_dim: int, projection_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.text_projection_layer = nn.Linear(embed_dim, projection_dim)
        self.image_projection_layer = nn.Linear(embed_dim, projection_dim)
        self.combiner_layer = nn.Linear(2 * projection_dim, hidden_dim)
        self.output_layer = nn.Linear(hidden_dim, embed_dim)
        gate = [
            ("0", nn.Linear(2 * projection_dim, hidden_dim)),
            ("1", nn.ReLU()),
            ("3", nn.Linear(hidden_dim, 1)),  # 2 was dropout
            ("4", nn.Sigmoid()),
        ]
        self.dynamic_scalar = nn.Sequential(OrderedDict(gate))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Return unit vectors (B, D) from raw features (B, D): not normalised beforehand."""
        projected = torch.cat(
            [self.text_projection_layer(text), self.image_projection_layer(image)], dim=-1
        ).relu()  # (B, 2P), the text half first
        learned = self.output_layer(self.combiner_layer(projected).relu())
        trust = self.dynamic_scalar(projected)  # (B, 1), of the text
        return normalize(learned + trust * text + (1 - trust) * image, dim=-1)


class SumQuery(nn.Module):
    """The query function of the first training stage: the sum of both raw features."""

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Return unit vectors (B, D) from raw features (B, D)."""
        return normalize(image + text, dim=-1)


class Clip4Cir(nn.Module):
    """The whole model, as ``TorchEncoder`` runs it.

    Parameters
    ----------
    clip : Clip
        Both towers, for features of one width D.
    combine : Combiner or SumQuery
        Raw image and text features, (B, D) each -> unit vectors (B, D).
    """

    def __init__(self, clip: Clip, combine: Combiner | SumQuery) -> None:
        super().__init__()
        self.vision, self.text, self.combine = clip.vision, clip.text, combine
        self.row_shape: tuple[int, ...] = (clip.text.embed_dim,)

    def read(self, pixels: Tensor) -> Tensor:
        """(B, 3, R, R) -> raw image features (B, D): not normalised."""
        features: Tensor = self.vision(pixels).feature
        return features

    def candidate(self, seen: Tensor) -> Tensor:
        """Raw image features -> unit vectors, (B, D)."""
        return normalize(seen, dim=-1)

    def query(self, seen: Tensor, *text: Tensor) -> Tensor:
        """Raw image features (B, D) and token ids (B, L) -> unit vectors (B, D)."""
        (ids,) = text
        features: Tensor = self.combine(seen, self.text(ids).feature)
        return features
