"""Dropout that is not the slowest part of a small model on a CPU."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from llmemb_plugins._draws import bound, draws


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """As torch's: zero a share of the entries, scale the rest by 1 / (1 - share); in training only.

    The share is rounded to a 65,536th.
    """
    if not training or share == 0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, share)
    kept = draws(x.numel()).view(x.shape) >= bound(share)
    return x * kept.to(x.dtype).div_(1 - share)


class Dropout(nn.Module):
    """`dropout` as a module."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.share, self.training)
