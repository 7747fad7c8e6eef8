"""Random choices of a share of many places, from 16 bits each: torch draws a number an entry on one core, 14 ns each,
and one draw of 64 bits decides about four entries here."""

from __future__ import annotations

import torch
from jaxtyping import Int16
from torch import Tensor

LEVELS = 1 << 16


def draws(
    count: int, device: torch.device | str = "cpu", generator: torch.Generator | None = None
) -> Int16[Tensor, "count"]:
    """Uniform numbers of 16 bits; without a generator, from torch's own of the device."""
    bits = torch.empty(-(-count // 4), dtype=torch.int64, device=device)
    return bits.random_(-(2**63), None, generator=generator).view(torch.int16)[:count]


def bound(share: float) -> int:
    """Below it are a share of all draws, rounded to a 65,536th."""
    return round(share * LEVELS) - LEVELS // 2
