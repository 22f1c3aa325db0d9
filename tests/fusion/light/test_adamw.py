"""The optimiser is torch's, in fewer calls."""

import torch
from torch import nn

from dafm_core.fusion.light.adamw import AdamW


def test_steps_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((3, 4), (5,), ())]
    targets = [torch.randn(value.shape, generator=generator) for value in start]
    mine, others = ([nn.Parameter(value.clone()) for value in start] for _ in range(2))
    ours = AdamW(mine, rate=0.02, decay=0.1)
    theirs = torch.optim.AdamW(others, lr=0.02, weight_decay=0.1)
    for _ in range(60):
        for parameters, optimizer in ((mine, ours), (others, theirs)):
            optimizer.zero_grad()
            distances = [(p - t).square().sum() for p, t in zip(parameters, targets, strict=True)]
            sum(distances).backward()
            optimizer.step()
    for one, other in zip(mine, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
