"""The network: an image encoder, one or two Q-Formers, and what SPRC does with them.

Modules come from ``transformers``; only the order in which they are called is SPRC's. No file is
read here.

Shapes: B images or queries, T image tokens, W their width, K prompt vectors (32), H the width of
the Q-Former, L text tokens (32), D the width of the embedding (256).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Blip2VisionConfig,
    Blip2VisionModel,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from dafm_core.wrapping.checkpoints import Weights, assign
from dafm_core.wrapping.inference import check_heads
from dafm_plugin_sprc.layout import (
    IGNORED,
    QFormerSizes,
    Sizes,
    VisionSizes,
    infer_sizes,
    spn_ignored,
    tensors_of,
)


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

    ``sees_images=False`` leaves out the layers that only run beside an image.
    """

    def __init__(self, sizes: QFormerSizes, n_heads: int, *, sees_images: bool = True) -> None:
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
            use_qformer_text_input=True,
        )
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


class Sprc(nn.Module):
    """SPRC; ``with_spn`` adds the second Q-Former and text projection of SPRC+SPN.

    Parameters
    ----------
    sizes : Sizes
        As the file tells.
    vision_heads, qformer_heads : int
        Divisors of the widths.
    dtype : torch.dtype
        Of the linear layers of the image encoder.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        vision_heads: int,
        qformer_heads: int,
        dtype: torch.dtype,
        with_spn: bool,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.row_shape: tuple[int, ...] = (sizes.n_vectors, sizes.n_features)
        width = sizes.qformer.width
        self.vision = VisionEncoder(sizes.vision, vision_heads, dtype)
        self.qformer = QFormer(sizes.qformer, qformer_heads)
        self.query_tokens = nn.Parameter(torch.empty(1, sizes.n_vectors, width))
        self.vision_proj = nn.Linear(width, sizes.n_features)
        self.query_qformer = (
            QFormer(sizes.qformer, qformer_heads, sees_images=False) if with_spn else None
        )
        self.text_proj = nn.Linear(width, sizes.n_features)

    def read(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> all image tokens, (B, T, W)."""
        tokens: Tensor = self.vision(pixels)
        return tokens

    def candidate(self, seen: Tensor) -> Tensor:
        """Image tokens (B, T, W) -> (B, K, D), each vector of length 1."""
        vectors = self.qformer(self.query_tokens.expand(len(seen), -1, -1), None, seen)
        return normalize(self.vision_proj(vectors), dim=-1)

    def fuse(self, image: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
        """Return the K sentence prompts (B, K, H) of references (B, T, W) and captions."""
        prompts = self.query_tokens.expand(len(image), -1, -1)
        fused: Tensor = self.qformer(prompts, text, image)
        return fused[:, : prompts.shape[1]]

    def query(self, seen: Tensor, *text: Tensor) -> Tensor:
        """Return one vector of length 1, (B, D), for references (B, T, W), token ids and mask."""
        ids, mask = text
        prompts = self.fuse(seen, (ids, mask))
        reader = self.query_qformer or self.qformer
        hidden: Tensor = reader(prompts, (ids, mask), None)
        sentence = hidden[:, prompts.shape[1]]  # [CLS] follows the prompts
        return normalize(self.text_proj(sentence), dim=-1)


def load_model(
    weights: Weights,
    *,
    vision_heads: int,
    qformer_heads: int,
    dtype: torch.dtype,
    with_spn: bool,
) -> Sprc:
    """Build the model a file describes, on the file's own memory where the dtype allows it.

    Raises
    ------
    ProviderError
        If a tensor is missing or has another shape than the rest implies.
    OptionError
        If a head count does not divide its width.
    """
    sizes = infer_sizes(weights)
    where = weights.where
    check_heads(vision_heads, sizes.vision.width, option="vision_heads", where=where)
    check_heads(qformer_heads, sizes.qformer.width, option="qformer_heads", where=where)
    with torch.device("meta"):
        model = Sprc(
            sizes,
            vision_heads=vision_heads,
            qformer_heads=qformer_heads,
            dtype=dtype,
            with_spn=with_spn,
        )
    tensors = tensors_of(weights, model, sizes.vision.kind)
    halves = dict.fromkeys(model.vision.linear_keys("vision."), dtype)
    positions = {  # CLIP's position indices are in no state dict
        name: torch.arange(buffer.shape[-1]).unsqueeze(0) for name, buffer in model.named_buffers()
    }
    assign(model, tensors, where, dtype=halves, buffers=positions)
    weights.report_unused(spn_ignored(sizes.qformer.depth) if with_spn else IGNORED)
    return model
