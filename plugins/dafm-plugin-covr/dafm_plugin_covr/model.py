"""CoVR-2: one image encoder, a Q-Former for the query and another one for the gallery.

CoVR-BLIP is ``dafm_core.wrapping.blip.encoders.ImageGrounded``. No file is read here.

Shapes: B images or queries, T image tokens, W their width, K query vectors (32), L text tokens, D
the width of the embedding (256).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dafm_core.wrapping.blip.encoders import trimmed
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
from dafm_plugin_covr.layout import QUERY_UNUSED


class Covr2(nn.Module):
    """The whole model, as ``TorchEncoder`` runs it.

    Parameters
    ----------
    sizes : Sizes
        As the file tells.
    vision_heads, qformer_heads : int
        Divisors of the widths.
    dtype : torch.dtype
        Of the linear layers of the image encoder.
    by_mean : bool
        Whether a query and a candidate are compared by the means of their vectors, which are not
        normalised again, instead of by their best pair.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        vision_heads: int,
        qformer_heads: int,
        dtype: torch.dtype,
        by_mean: bool,
    ) -> None:
        super().__init__()
        self.sizes, self.by_mean = sizes, by_mean
        shape = (sizes.n_vectors, sizes.n_features)
        self.row_shape: tuple[int, ...] = shape[1:] if by_mean else shape
        self.query_shape: tuple[int, ...] = self.row_shape
        width = sizes.qformer.width
        self.vision = VisionEncoder(sizes.vision, vision_heads, dtype)
        self.qformer = QFormer(sizes.qformer, qformer_heads)
        self.query_tokens = nn.Parameter(torch.empty(1, sizes.n_vectors, width))
        self.text_proj = nn.Linear(width, sizes.n_features)
        self.gallery_qformer = QFormer(sizes.qformer, qformer_heads, reads_text=False)
        self.gallery_tokens = nn.Parameter(torch.empty(1, sizes.n_vectors, width))
        self.vision_proj = nn.Linear(width, sizes.n_features)

    def read(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> all image tokens, (B, T, W)."""
        tokens: Tensor = self.vision(pixels)
        return tokens

    def candidate(self, seen: Tensor) -> Tensor:
        """Image tokens (B, T, W) -> unit vectors (B, K, D), or their means (B, D)."""
        vectors = self.gallery_qformer(self.gallery_tokens.expand(len(seen), -1, -1), None, seen)
        return self._compared(self.vision_proj(vectors))

    def query(self, seen: Tensor, *text: Tensor) -> Tensor:
        """Return for references (B, T, W), ids and mask what :meth:`candidate` gives."""
        vectors = self.query_tokens.expand(len(seen), -1, -1)
        hidden: Tensor = self.qformer(vectors, trimmed(*text), seen)
        # text_proj, although these are positions of the image's vectors
        return self._compared(self.text_proj(hidden[:, : self.sizes.n_vectors]))

    def _compared(self, vectors: Tensor) -> Tensor:
        unit = normalize(vectors, dim=-1)
        return unit.mean(dim=1) if self.by_mean else unit


def load_model(
    weights: Weights,
    gallery: Weights,
    *,
    vision_heads: int,
    qformer_heads: int,
    dtype: torch.dtype,
    by_mean: bool,
) -> Covr2:
    """Build the model that two files describe, on their own memory where the dtype allows it.

    Parameters
    ----------
    weights, gallery : Weights
        Of CoVR-2, and what differs in the BLIP-2 file (``layout.open_gallery``).

    Raises
    ------
    ProviderError
        If a tensor is missing or has another shape than the rest implies.
    OptionError
        If a head count does not divide its width.
    """
    sizes = Sizes.of(weights)
    check_heads(vision_heads, sizes.vision.width, option="vision_heads", where=weights.where)
    check_heads(qformer_heads, sizes.qformer.width, option="qformer_heads", where=weights.where)
    with torch.device("meta"):
        model = Covr2(
            sizes,
            vision_heads=vision_heads,
            qformer_heads=qformer_heads,
            dtype=dtype,
            by_mean=by_mean,
        )
    tensors = placed("vision", vision_tensors(weights, model.vision, sizes.vision.kind))
    tensors |= placed("qformer", qformer_tensors(weights, model.qformer))
    tensors |= placed("gallery_qformer", qformer_tensors(gallery, model.gallery_qformer))
    (tensors["gallery_tokens"],) = own_tensors(gallery, "query_tokens").values()
    projections = [
        f"{name}.{p}" for name in ("text_proj", "vision_proj") for p in ("weight", "bias")
    ]
    tensors |= own_tensors(weights, "query_tokens", *projections)
    halves = dict.fromkeys(model.vision.linear_keys("vision."), dtype)
    assign(model, tensors, weights.where, dtype=halves)
    weights.report_unused(QUERY_UNUSED)
    return model
