"""CLIP's modified ResNet with attention pooling, which ``transformers`` does not have.

Three stem convolutions, average pooling wherever an ordinary ResNet strides, and one attention
step from the mean position over all positions instead of global pooling. Module names are those of
the published state dict (OpenAI CLIP, MIT; see NOTICE).
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from dafm_core.wrapping.clip.towers import Encoded

HEAD_WIDTH = 64
"""Width of an attention head, in every CLIP model of OpenAI."""

EXPANSION = 4
"""Output channels of a block over its inner width."""


class Bottleneck(nn.Module):
    """One residual block; ``downsample`` exists where its shape changes."""

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        n_out = EXPANSION * width
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.pool = nn.AvgPool2d(stride)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or n_in != n_out:
            shortcut = [
                ("-1", nn.AvgPool2d(stride)),
                ("0", nn.Conv2d(n_in, n_out, 1, bias=False)),
                ("1", nn.BatchNorm2d(n_out)),
            ]
            self.downsample = nn.Sequential(OrderedDict(shortcut))

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, s, s) -> (B, n_out, s / stride, s / stride)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(self.pool(y)))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class AttentionPool(nn.Module):
    """Attention of the mean position over all positions."""

    def __init__(self, side: int, width: int, embed_dim: int) -> None:
        super().__init__()
        self.n_heads = width // HEAD_WIDTH
        self.positional_embedding = nn.Parameter(torch.empty(side * side + 1, width))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, embed_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, E, S, S) -> (B, D), and the positions it attends to, (B, S * S + 1, E)."""
        x = x.flatten(2).transpose(1, 2)  # (B, S * S, E)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + self.positional_embedding
        q, k, v = self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x)
        heads = (t.unflatten(-1, (self.n_heads, HEAD_WIDTH)).transpose(1, 2) for t in (q, k, v))
        pooled = functional.scaled_dot_product_attention(*heads)  # (B, heads, 1, 64)
        return self.c_proj(pooled.flatten(1)), x


class ModifiedResNet(nn.Module):
    """The image encoder of CLIP RN50, RN50x4 and their like."""

    def __init__(self, width: int, n_blocks: list[int], side: int, embed_dim: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        n_in = width
        for stage, n in enumerate(n_blocks):
            inner, stride = width * 2**stage, 1 if stage == 0 else 2
            blocks = [Bottleneck(n_in, inner, stride)]
            n_in = EXPANSION * inner
            blocks += [Bottleneck(n_in, inner, 1) for _ in range(n - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.n_stages = len(n_blocks)
        self.attnpool = AttentionPool(side, n_in, embed_dim)
        self.resolution, self.embed_dim = 32 * side, embed_dim

    def forward(self, pixels: Tensor) -> Encoded:
        """(B, 3, R, R) -> the embedding, and the positions it is pooled from, their mean first."""
        x = functional.relu(self.bn1(self.conv1(pixels.to(self.conv1.weight.dtype))))
        x = functional.relu(self.bn2(self.conv2(x)))
        x = functional.relu(self.bn3(self.conv3(x)))
        x = functional.avg_pool2d(x, 2)
        for stage in range(self.n_stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        feature, positions = self.attnpool(x)
        return Encoded(feature.float(), positions.float())
