"""BLIP-2's image encoder (EVA ViT-g, or CLIP ViT-L) and its Q-Former, as frozen networks call them.

Modules come from ``transformers``. No file is read here.

Shapes: B images or queries, T image tokens, W their width, K query vectors (32), H the width of
the Q-Former, L text tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Blip2VisionConfig,
    Blip2VisionModel,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from dafm_core.wrapping.blip2.layout import QFormerSizes, VisionSizes


class VisionEncoder(nn.Module):
    """Pixels -> all image tokens after ``ln_vision``, float32.

    With a ``dtype`` of half precision its linear layers compute in that; norms, positions and the
    residual stream stay float32.
    """

    def __init__(self, sizes: VisionSizes, n_heads: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.kind, self.dtype = sizes.kind, dtype
        self.encoder: nn.Module = (
            _eva(sizes, n_heads) if sizes.kind == "eva" else _clip(sizes, n_heads)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, T, W)."""
        is_half = self.dtype != torch.float32
        with torch.autocast(
            pixels.device.type, dtype=self.dtype if is_half else None, enabled=is_half
        ):
            tokens: Tensor = self.encoder(pixel_values=pixels).last_hidden_state
            if self.kind == "clip":  # transformers normalises the class token only
                tokens = self.encoder.get_submodule("post_layernorm")(tokens)
        return tokens.float()

    def linear_keys(self, prefix: str) -> list[str]:
        """Return the keys of weights and biases of linear layers."""
        names = [n for n, module in self.named_modules() if isinstance(module, nn.Linear)]
        return [f"{prefix}{name}.{part}" for name in names for part in ("weight", "bias")]


def _eva(sizes: VisionSizes, n_heads: int) -> Blip2VisionModel:
    config = Blip2VisionConfig(
        hidden_size=sizes.width,
        intermediate_size=sizes.mlp_width,
        num_hidden_layers=sizes.depth,
        num_attention_heads=n_heads,
        image_size=sizes.image_size,
        patch_size=sizes.patch,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        qkv_bias=True,
    )
    encoder = Blip2VisionModel(config)
    encoder.post_layernorm.eps = 1e-5  # it holds ln_vision, which is no part of the ViT
    return encoder


def _clip(sizes: VisionSizes, n_heads: int) -> CLIPVisionModel:
    config = CLIPVisionConfig(
        hidden_size=sizes.width,
        intermediate_size=sizes.mlp_width,
        num_hidden_layers=sizes.depth,
        num_attention_heads=n_heads,
        image_size=sizes.image_size,
        patch_size=sizes.patch,
        hidden_act="quick_gelu",
        layer_norm_eps=1e-5,
    )
    return CLIPVisionModel(config)


class QFormer(nn.Module):
    """BLIP-2's Q-Former with the look-ups of words and positions in front of it.

    ``sees_images=False`` leaves out the layers that only run beside an image, ``reads_text=False``
    those that only text needs.
    """

    def __init__(
        self,
        sizes: QFormerSizes,
        n_heads: int,
        *,
        sees_images: bool = True,
        reads_text: bool = True,
    ) -> None:
        super().__init__()
        config = Blip2QFormerConfig(
            vocab_size=sizes.vocabulary,
            hidden_size=sizes.width,
            num_hidden_layers=sizes.depth,
            num_attention_heads=n_heads,
            intermediate_size=sizes.mlp_width,
            hidden_act="gelu",
            max_position_embeddings=sizes.positions,
            layer_norm_eps=1e-12,
            cross_attention_frequency=sizes.cross_every,
            encoder_hidden_size=sizes.vision_width,
            use_qformer_text_input=reads_text,
        )
        if reads_text:
            self.word = nn.Embedding(sizes.vocabulary, sizes.width)
            self.position = nn.Embedding(sizes.positions, sizes.width)
        self.bert = Blip2QFormerModel(config)
        if not sees_images:
            for layer in self.bert.encoder.layer:
                for name in ("crossattention", "intermediate_query", "output_query"):
                    if hasattr(layer, name):
                        delattr(layer, name)

    def forward(
        self, vectors: Tensor, text: tuple[Tensor, Tensor] | None, image: Tensor | None
    ) -> Tensor:
        """Return the last hidden state.

        Parameters
        ----------
        vectors : Tensor of shape (B, K, H)
            What stands before the text; without positions.
        text : (Tensor, Tensor) of shape (B, L), optional
            Token ids and mask.
        image : Tensor of shape (B, T, W), optional
            With it the K vectors attend to the image and take their own feed-forward; without it
            all positions take the feed-forward of text, where BLIP-2 would not.
        """
        n_vectors, hidden, mask = vectors.shape[1], vectors, None
        if text is not None:
            ids, text_mask = text
            words = self.word(ids) + self.position.weight[: ids.shape[1]]
            hidden = torch.cat([vectors, words], dim=1)  # (B, K + L, H)
            mask = torch.cat([text_mask.new_ones(len(ids), n_vectors), text_mask], dim=1)
        output: Tensor = self.bert(
            query_embeds=hidden,
            query_length=0 if image is None else n_vectors,
            attention_mask=mask,
            encoder_hidden_states=image,
        ).last_hidden_state
        return output
