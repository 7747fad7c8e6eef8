"""Dropout whose draw belongs to a text, not to its position in a batch.

So a text has one vector a seed, in chunks of any size, on any number of processes and when a graph is computed again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmemb_bench.base.errors import SpecError
from llmemb_plugins._draws import bound, draws

SPREAD = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: neighbouring numbers become seeds far apart
LARGEST_SEED = 2**63


class Draws:
    """The seeds and lengths of the texts that are in the model now; one for all dropout modules of a model."""

    def __init__(self) -> None:
        self.seeds: Sequence[int] | None = None
        self.lengths: list[int] = []
        self.width = 0

    def set(self, seeds: Sequence[int] | None, real: Bool[Tensor, "batch len"]) -> None:
        """Texts with these seeds, padded on the right. It stays set: a backward pass that recomputes needs it."""
        self.seeds, self.width = seeds, real.shape[1]
        self.lengths = real.sum(1).tolist() if seeds is not None else []


class TextDropout(nn.Module):
    """Drops the same activations of a text for the same seed; without seeds it does nothing."""

    def __init__(self, share: float, number: int, draws: Draws) -> None:
        super().__init__()
        self.p, self.number, self._draws = share, number, draws

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        seeds = self._draws.seeds
        if seeds is None:
            return x
        count, width = len(seeds), self._draws.width
        if tuple(x.shape[:-1]) not in ((count, width), (count * width,), (count,)):
            raise SpecError(
                "this model mixes texts inside a layer, so that no dropout can belong to one text",
                where="embeddings.encoder.lora",
                fix="dropout: 0.0",
            )
        dropped = torch.zeros(x.shape, dtype=torch.bool, device=x.device)
        by_text = dropped.view(count, -1, x.shape[-1])  # some layers see all tokens in a row, a pooler one a text
        generator = torch.Generator(x.device)
        for row, (seed, length) in enumerate(zip(seeds, self._draws.lengths, strict=True)):
            generator.manual_seed((seed + self.number * SPREAD) % LARGEST_SEED)
            real = by_text[row, :length]
            real.copy_((draws(real.numel(), x.device, generator) < bound(self.p)).view_as(real))
        return x.masked_fill(dropped, 0.0).mul_(1 / (1 - self.p))


def replace_dropout(model: nn.Module, adapter: str) -> Draws:
    """Switch off the base's dropout (LLaMA has none) and give LoRA's to the texts."""
    draws = Draws()
    number = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if not isinstance(child, nn.Dropout):
                continue
            if name == adapter:
                module.add_module(name, TextDropout(child.p, number, draws))
                number += 1
            else:
                child.p = 0.0
    return draws
