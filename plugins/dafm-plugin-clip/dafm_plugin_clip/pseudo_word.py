"""The reference image as a word: phi maps its feature to a token embedding of CLIP's text tower.

One network for Pic2Word, SEARLE and LinCIR, which differ in phi, in the placeholder and in what
becomes of it. No file is read here.

Shapes: B images or queries, D the embedding, W the width of a token, L the context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dafm_core.wrapping.clip.state_dict import Clip


class Phi(nn.Module):
    """Linear layers with an activation between them, (B, D) -> (B, W).

    Parameters
    ----------
    widths : sequence of int
        D, those between, W.
    activation : callable
    """

    def __init__(self, widths: Sequence[int], activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.n_in, self.n_out = widths[0], widths[-1]
        pairs = pairwise(widths)
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairs)
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        """Return pseudo words of raw image features, which are not normalised."""
        for layer in self.layers[:-1]:
            features = self.activation(layer(features))
        words: Tensor = self.layers[-1](features)
        return words


class PseudoWord(nn.Module):
    """The whole model, as ``TorchEncoder`` runs it.

    Parameters
    ----------
    clip : Clip
        Both towers, frozen.
    phi : Phi
    placeholder : int
        Token id that the pseudo word replaces.
    every : bool
        Whether it replaces every placeholder of a text, or the first alone.
    rounds : bool
        Whether pixels of references are rounded to float16.
    """

    def __init__(
        self, clip: Clip, phi: Phi, *, placeholder: int, every: bool, rounds: bool
    ) -> None:
        super().__init__()
        self.vision, self.text, self.phi = clip.vision, clip.text, phi
        self.placeholder, self.every, self.rounds = placeholder, every, rounds
        self.row_shape: tuple[int, ...] = (clip.text.embed_dim,)

    def read(self, pixels: Tensor) -> Tensor:
        """(B, 3, R, R) -> raw image features (B, D): not normalised."""
        features: Tensor = self.vision(pixels).feature
        return features

    def read_reference(self, pixels: Tensor) -> Tensor:
        """Return the same of references, whose normalised pixels may be rounded."""
        return self.read(pixels.half().float() if self.rounds else pixels)

    def candidate(self, seen: Tensor) -> Tensor:
        """Raw image features -> unit vectors, (B, D)."""
        return normalize(seen, dim=-1)

    def query(self, seen: Tensor, *text: Tensor) -> Tensor:
        """Return unit vectors (B, D) for raw image features and one or two orders of captions."""
        words = self.phi(seen)
        units = [normalize(self.read_text(ids, words), dim=-1) for ids in text]
        return normalize(torch.stack(units).mean(dim=0), dim=-1)

    def read_text(self, ids: Tensor, words: Tensor) -> Tensor:
        """Token ids (B, L) and pseudo words (B, W) -> raw text features (B, D)."""
        is_placeholder = ids == self.placeholder
        if not self.every:
            is_placeholder &= is_placeholder.cumsum(dim=1) == 1
        tokens = self.text.embed_tokens(ids)  # (B, L, W)
        replaced = words.to(tokens.dtype).unsqueeze(1)
        features: Tensor = self.text(
            ids, torch.where(is_placeholder.unsqueeze(-1), replaced, tokens)
        ).feature
        return features
