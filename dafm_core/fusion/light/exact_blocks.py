"""The exact loss of the paper's network by torch, in blocks of candidates: where Numba is missing.

The same numbers as the loop of ``compiled.py``, one pass over candidates likewise.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

BLOCK: Final = 512
"""Candidates whose hidden units torch holds at a time."""
LOWEST: Final = -1e30
"""Logit of who is no rival, and of nobody."""


@torch.no_grad()
def exact_rows_in_blocks(
    x: Any,
    removed: Any,
    target: Any,
    share: Any,
    tau: Any,
    taps: Any,
    edge: Any,
    bias: Any,
    out: Any,
    linear: Any,
    losses: Any,
    grad_taps: Any,
    grad_edge: Any,
    grad_bias: Any,
    grad_out: Any,
    grad_linear: Any,
) -> None:
    """Do what :func:`dafm_core.fusion.light.compiled.exact_rows` does, by torch, in blocks."""
    n_rows, n_models, n_gallery = x.shape
    n_taps, n_hidden = edge.shape
    reach = n_taps // 2
    padded = torch.nn.functional.pad(torch.from_numpy(x), (reach, reach))
    inside = torch.nn.functional.pad(torch.ones(1, n_gallery), (reach, reach))
    matrix = torch.from_numpy(np.concatenate([*taps.transpose(0, 2, 1), edge]).T.copy())  # (H, C)
    vector, direct = torch.from_numpy(out), torch.from_numpy(linear)
    rest = torch.from_numpy(bias)[:, None]
    counts, gone = torch.from_numpy(share) / float(tau), torch.from_numpy(removed)
    peak, total, at_target = torch.full((n_rows,), LOWEST), torch.zeros(n_rows), torch.zeros(n_rows)
    # What candidates pull with their chance, by row: at inputs, GELU, its slope, slope and taps.
    pulls = [
        torch.zeros(n_rows, *shape)
        for shape in ((n_models,), (n_hidden,), (n_hidden,), (n_hidden, len(matrix.T)))
    ]
    gradient = [torch.zeros(part.shape[1:]) for part in pulls]
    for start in range(0, n_gallery, BLOCK):
        stop = min(start + BLOCK, n_gallery)
        shifts = [slice(start + j, stop + j) for j in range(n_taps)]
        ones = torch.cat([inside[:, shift] for shift in shifts]).expand(n_rows, -1, -1)
        columns = torch.cat([*(padded[:, :, shift] for shift in shifts), ones], dim=1)
        own = columns[:, reach * n_models : (reach + 1) * n_models]
        units = matrix @ columns + rest  # (R, H, n), before GELU
        active = torch.nn.functional.gelu(units)
        logits = (vector @ active + direct @ own).div_(float(tau))

        here = np.flatnonzero((start <= target) & (target < stop))
        cells = torch.from_numpy(here), torch.from_numpy(target[here] - start)
        at_target[here] = logits[cells]
        _take_targets(gradient, cells, counts[here], (own, active, units, columns))

        logits.masked_fill_(gone[:, start:stop], LOWEST)
        best = torch.maximum(peak, logits.amax(dim=1))
        shrink, chance = (peak - best).exp(), (logits - best[:, None]).exp_()
        chance.masked_fill_(gone[:, start:stop], 0)
        peak, total = best, total * shrink + chance.sum(dim=1)
        for part in pulls:
            part *= shrink.reshape(-1, *[1] * (part.dim() - 1))
        pulls[0] += (own @ chance[:, :, None])[:, :, 0]
        pulls[1] += (active @ chance[:, :, None])[:, :, 0]
        slope = torch.ops.aten.gelu_backward(chance[:, None].expand_as(units).contiguous(), units)
        pulls[2] += slope.sum(dim=2)
        pulls[3] += slope @ columns.transpose(1, 2)
    losses += share * (peak + total.log() - at_target).numpy()
    factor = counts / total
    for whole, part in zip(gradient, pulls, strict=True):
        whole += torch.tensordot(factor, part, dims=1)
    grad_linear += gradient[0].numpy()
    grad_out += gradient[1].numpy()
    grad_bias += (gradient[2] * vector).numpy()
    of_matrix = gradient[3] * vector[:, None]
    by_tap = of_matrix[:, : n_taps * n_models].reshape(n_hidden, n_taps, n_models)
    grad_taps += by_tap.permute(1, 0, 2).numpy()
    grad_edge += of_matrix[:, n_taps * n_models :].T.numpy()


def _take_targets(
    gradient: list[Tensor], cells: tuple[Tensor, Tensor], share: Tensor, parts: tuple[Tensor, ...]
) -> None:
    """Take from the gradient what the targets pull that stand in a block, at rows and places.

    ``parts`` are models' scores, GELU and hidden units before it, and taps, (R, ..., n) each.
    """
    models, active, units, columns = (part.transpose(1, 2)[cells] for part in parts)
    pull = share[:, None]
    slope = torch.ops.aten.gelu_backward(pull.expand_as(units), units)
    pulled = pull.T @ models, pull.T @ active, slope.sum(dim=0), slope.T @ columns
    for whole, part in zip(gradient, pulled, strict=True):
        whole -= part.reshape(whole.shape)
