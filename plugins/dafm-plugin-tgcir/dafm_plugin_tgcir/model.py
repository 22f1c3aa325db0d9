"""TG-CIR's own layers: attribute tokens from CLIP's outputs, and the composition of two sets.

The towers are CLIP's; no files here: see ``loading.py``. The teacher that saw targets existed in
training only.

References
----------
Wen et al., "Target-Guided Composed Image Retrieval", ACM Multimedia 2023, arXiv 2309.01366.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class AttributeTokens(nn.Module):
    """Global and local tokens of images and texts, made by the same masks and attentions.

    Parameters
    ----------
    dim : int
        D, width of features and tokens.
    image_width, text_width : int
        Widths of the two towers.
    n_global : int
        P, masks over the pooled feature.
    n_local : int
        Q, attentions over the positions.
    """

    def __init__(
        self, dim: int, image_width: int, text_width: int, n_global: int, n_local: int
    ) -> None:
        super().__init__()
        self.fc = nn.Linear(image_width, dim)
        self.text_fc = nn.Linear(text_width, dim)
        self.masks = nn.Embedding(n_global, dim)
        self.attention = nn.Linear(dim, n_local)

    def of_image(self, feature: Tensor, positions: Tensor) -> Tensor:
        """Pooled (B, D) and positions (B, L, width) before the last norm -> (B, P + Q, D)."""
        return self._tokens(feature, self.fc(positions))

    def of_text(self, feature: Tensor, positions: Tensor) -> Tensor:
        """Pooled (B, D) and positions (B, L, width) after the last norm -> (B, P + Q, D)."""
        return self._tokens(feature, self.text_fc(positions))

    def _tokens(self, feature: Tensor, positions: Tensor) -> Tensor:
        whole = feature.unsqueeze(1) * self.masks.weight.relu()  # (B, P, D)
        weights = self.attention(positions).sigmoid()  # (B, L, Q)
        local = weights.transpose(1, 2) @ positions / positions.shape[1]  # (B, Q, D), a plain mean
        return torch.cat([whole, local], dim=1)


class Composition(nn.Module):
    """How much of each reference token remains; the rest is the text's."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.s_remain_map = nn.Sequential(nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    def remain(self, reference: Tensor, text: Tensor) -> Tensor:
        """Return the share of the reference in each token, (B, P + Q, 1)."""
        pairs = torch.cat([reference, text], dim=-1)  # (B, P + Q, 2D), the reference half first
        return torch.as_tensor(self.s_remain_map(pairs).sigmoid())

    def forward(self, reference: Tensor, text: Tensor) -> Tensor:
        """Return unit vectors (B, D) from tokens (B, P + Q, D) of references and texts."""
        share = self.remain(reference, text)
        return pooled(share * reference + (1 - share) * text)


def pooled(tokens: Tensor) -> Tensor:
    """Return the unit vector of the mean token, (B, P + Q, D) -> (B, D)."""
    return normalize(tokens.mean(dim=1), dim=-1)
