"""CLIP's text and vision transformers: modules of ``transformers`` that give what CIR models use.

A tower computes in the type of its weights and gives float32. No files here: ``state_dict.py``
builds the towers of a checkpoint. The convolutional tower is not in ``transformers``: see
``resnet.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection


class Encoded(NamedTuple):
    """What a tower makes of a batch, float32."""

    feature: Tensor
    """The embedding, (B, D), not normalised."""

    positions: Tensor
    """Every position of the last layer, (B, L, W)."""


class TextTower(nn.Module):
    """Token ids -> text embedding, pooled where the first end token stands.

    Parameters
    ----------
    model : CLIPTextModelWithProjection
        With its weights. Its configuration decides the sizes and the activation; what the
        configuration calls the end token decides nothing, since published ones disagree.
    """

    def __init__(self, model: CLIPTextModelWithProjection) -> None:
        super().__init__()
        self.model = model
        self.n_tokens = len(self._table.weight)
        self.context_length = len(model.text_model.embeddings.position_embedding.weight)
        self.embed_dim = len(model.text_projection.weight)

    def forward(self, ids: Tensor, embeddings: Tensor | None = None) -> Encoded:
        """Return the embedding, and all positions after the last norm.

        Parameters
        ----------
        ids : Tensor of shape (B, L), int64
            Rows of CLIP's tokeniser. The first end token, the largest id there is, is where the
            embedding is taken; what follows is padding, which causal attention keeps out of it.
        embeddings : Tensor of shape (B, L, W), optional
            What stands for the tokens instead of their embeddings: :meth:`embed_tokens` with some
            positions replaced, as models do that describe a picture by a word of their own. Ids
            still decide where the end is; positions and the causal mask are added as always.
        """
        with self._standing_for_tokens(embeddings):
            hidden = self.model.text_model(input_ids=ids).last_hidden_state  # (B, L, W)
        end = ids.argmax(dim=-1)  # of equal ids the first
        rows = torch.arange(len(ids), device=ids.device)
        feature = self.model.text_projection(hidden[rows, end])
        return Encoded(feature.float(), hidden.float())

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Return the embeddings of tokens, without positions: (B, L) -> (B, L, W)."""
        return torch.as_tensor(self._table(ids))

    @property
    def _table(self) -> nn.Embedding:
        table: nn.Embedding = self.model.text_model.embeddings.token_embedding
        return table

    @contextmanager
    def _standing_for_tokens(self, embeddings: Tensor | None) -> Iterator[None]:
        """Let the look-up of tokens give these embeddings; the model takes ids alone."""
        if embeddings is None:
            yield
            return
        hook = self._table.register_forward_hook(lambda *_: embeddings)
        try:
            yield
        finally:
            hook.remove()


class VisionTransformer(nn.Module):
    """Pixels -> image embedding.

    Parameters
    ----------
    model : CLIPVisionModelWithProjection
        With its weights; its configuration decides the sizes and the activation.
    """

    def __init__(self, model: CLIPVisionModelWithProjection) -> None:
        super().__init__()
        self.model = model
        side = model.config.image_size
        assert isinstance(side, int), "CLIP takes squares"
        self.resolution: int = side
        self.embed_dim = len(model.visual_projection.weight)

    def forward(self, pixels: Tensor) -> Encoded:
        """(B, 3, R, R) -> the embedding, and all positions before the last norm, class first."""
        output = self.model(pixel_values=pixels.to(self.model.visual_projection.weight.dtype))
        return Encoded(output.image_embeds.float(), output.last_hidden_state.float())
