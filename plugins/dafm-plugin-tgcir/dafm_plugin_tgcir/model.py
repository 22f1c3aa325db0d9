"""TG-CIR: two towers of CLIP, attribute tokens from their outputs, and the composition of two sets.

No files here: see ``loading.py``. The teacher that saw targets existed in training only. Names are
of this plugin's own; what the original's files call these layers stands in ``loading.py``.

Shapes: B images or texts, L positions of a tower, D the width of features and tokens, P global and
Q local tokens.

References
----------
Wen et al., "Target-Guided Composed Image Retrieval", ACM Multimedia 2023, arXiv 2309.01366.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dafm_core.wrapping.clip.state_dict import Clip


class AttributeTokens(nn.Module):
    """Global and local tokens of images and texts, made by the same gates and attentions.

    Parameters
    ----------
    dim : int
        D, width of features and tokens.
    image_width, text_width : int
        Widths of the two towers.
    n_global : int
        P, gates over the channels of the pooled feature.
    n_local : int
        Q, attentions over the positions.
    """

    def __init__(
        self, dim: int, image_width: int, text_width: int, n_global: int, n_local: int
    ) -> None:
        super().__init__()
        self.from_image = nn.Linear(image_width, dim)
        self.from_text = nn.Linear(text_width, dim)
        self.gates = nn.Parameter(torch.empty(n_global, dim))
        self.attention = nn.Linear(dim, n_local)

    def of_image(self, feature: Tensor, positions: Tensor) -> Tensor:
        """Pooled (B, D) and positions (B, L, width) before the last norm -> (B, P + Q, D)."""
        return self._tokens(feature, self.from_image(positions))

    def of_text(self, feature: Tensor, positions: Tensor) -> Tensor:
        """Pooled (B, D) and positions (B, L, width) after the last norm -> (B, P + Q, D)."""
        return self._tokens(feature, self.from_text(positions))

    def _tokens(self, feature: Tensor, positions: Tensor) -> Tensor:
        whole = feature.unsqueeze(1) * self.gates.relu()  # (B, P, D)
        weights = self.attention(positions).sigmoid()  # (B, L, Q)
        local = weights.transpose(1, 2) @ positions / positions.shape[1]  # (B, Q, D), a plain mean
        return torch.cat([whole, local], dim=1)


class Composition(nn.Module):
    """How much of each token is the reference's; the rest is the text's."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mixer = nn.Sequential(nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    def share(self, reference: Tensor, text: Tensor) -> Tensor:
        """Return the share of the reference in each token, (B, P + Q, 1)."""
        pairs = torch.cat([reference, text], dim=-1)  # (B, P + Q, 2D), the reference half first
        return torch.as_tensor(self.mixer(pairs).sigmoid())

    def forward(self, reference: Tensor, text: Tensor) -> Tensor:
        """Return unit vectors (B, D) from tokens (B, P + Q, D) of references and texts."""
        share = self.share(reference, text)
        return pooled(share * reference + (1 - share) * text)


class TgCir(nn.Module):
    """The whole model, as ``TorchEncoder`` runs it; what is read of an image are its tokens."""

    def __init__(self, clip: Clip, tokens: AttributeTokens, composition: Composition) -> None:
        super().__init__()
        self.vision, self.text = clip.vision, clip.text
        self.tokens, self.composition = tokens, composition
        self.row_shape: tuple[int, ...] = (clip.text.embed_dim,)

    def read(self, pixels: Tensor) -> Tensor:
        """(B, 3, R, R) -> global, then local tokens of images, (B, P + Q, D)."""
        return self.tokens.of_image(*self.vision(pixels))

    def text_tokens(self, ids: Tensor) -> Tensor:
        """(B, L) -> global, then local tokens of texts, (B, P + Q, D).

        All positions take part, padding included.
        """
        return self.tokens.of_text(*self.text(ids))

    def candidate(self, seen: Tensor) -> Tensor:
        """Tokens of images -> unit vectors (B, D)."""
        return pooled(seen)

    def query(self, seen: Tensor, *text: Tensor) -> Tensor:
        """Tokens of references and token ids of texts (B, L) -> unit vectors (B, D)."""
        (ids,) = text
        features: Tensor = self.composition(seen, self.text_tokens(ids))
        return features


def pooled(tokens: Tensor) -> Tensor:
    """Return the unit vector of the mean token, (B, P + Q, D) -> (B, D)."""
    return normalize(tokens.mean(dim=1), dim=-1)
