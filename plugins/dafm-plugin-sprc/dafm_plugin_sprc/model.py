"""The network: an image encoder, one or two Q-Formers, and what SPRC does with them.

Only the order in which they are called is SPRC's. No file is read here.

Shapes: B images or queries, T image tokens, W their width, K prompt vectors (32), H the width of
the Q-Former, L text tokens (32), D the width of the embedding (256).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dafm_core.wrapping.blip.layout import Tensors
from dafm_core.wrapping.blip2.encoders import QFormer, VisionEncoder
from dafm_core.wrapping.blip2.layout import (
    Sizes,
    own_tensors,
    placed,
    qformer_tensors,
    vision_tensors,
)
from dafm_core.wrapping.checkpoints import Weights, assign
from dafm_core.wrapping.inference import check_heads
from dafm_plugin_sprc.layout import IGNORED, spn_ignored


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
    sizes = Sizes.of(weights)
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
    tensors = _tensors(weights, model)
    halves = dict.fromkeys(model.vision.linear_keys("vision."), dtype)
    positions = {  # CLIP's position indices are in no state dict
        name: torch.arange(buffer.shape[-1]).unsqueeze(0) for name, buffer in model.named_buffers()
    }
    assign(model, tensors, where, dtype=halves, buffers=positions)
    weights.report_unused(spn_ignored(sizes.qformer.depth) if with_spn else IGNORED)
    return model


def _tensors(weights: Weights, model: Sprc) -> Tensors:
    """Return the tensor of the file for every key of the model."""
    tensors = placed("vision", vision_tensors(weights, model.vision, model.sizes.vision.kind))
    tensors |= placed("qformer", qformer_tensors(weights, model.qformer))
    tensors |= own_tensors(weights, "query_tokens", "vision_proj.weight", "vision_proj.bias")
    trained = "text_proj" if model.query_qformer is None else "text_proj_q"
    for part in ("weight", "bias"):
        (tensors[f"text_proj.{part}"],) = own_tensors(weights, f"{trained}.{part}").values()
    if model.query_qformer is not None:
        reader = qformer_tensors(weights, model.query_qformer, "Qformer_query.bert")
        tensors |= placed("query_qformer", reader)
    return tensors
