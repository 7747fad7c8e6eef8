"""FMLP-Rec: learnable filters instead of attention, made causal (Zhou et al., WWW 2022)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Backbone, BackboneConfig, Depth
from llmemb_plugins.backbones._dropout import Dropout


class FmlpConfig(BackboneConfig):
    """Settings of `fmlp`."""

    blocks: Depth = 2
    """Blocks of a filter and a feed-forward net (paper: 2)."""


class _FmlpBlock(nn.Module):
    """z = norm(x + filter(x));  y = norm(z + W2 GELU(W1 z)), inner width 4 dim, dropout before each sum.

    filter(x)_t = sum of kernel_s * x_{t-s} over s = 0..t, for each channel alone; by the convolution theorem the
    product of two spectra. Both are padded with zeros to twice the length, so that nothing wraps around.
    """

    def __init__(self, config: FmlpConfig) -> None:
        super().__init__()
        # The deviation of the kernel whose spectrum the authors' code starts from (normal, 0.02 in each part).
        self.kernel = nn.Parameter(torch.randn(config.max_len, config.dim) * 0.02 * (2 / config.max_len) ** 0.5)
        self.inner, self.outer = nn.Linear(config.dim, 4 * config.dim), nn.Linear(4 * config.dim, config.dim)
        self.norm_filter, self.norm_net = nn.LayerNorm(config.dim, eps=1e-12), nn.LayerNorm(config.dim, eps=1e-12)
        self.dropout = Dropout(config.dropout)
        for layer in (self.inner, self.outer):  # the authors' code
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "batch len dim"]) -> Float[Tensor, "batch len dim"]:
        x = self.norm_filter(x + self.dropout(self._filter(x)))
        inner = functional.gelu(self.inner(x))
        states: Tensor = self.norm_net(x + self.dropout(self.outer(inner)))
        return states

    def _filter(self, x: Float[Tensor, "batch len dim"]) -> Float[Tensor, "batch len dim"]:
        length, padded = x.shape[1], 2 * x.shape[1]
        spectrum = torch.fft.rfft(x, padded, 1) * torch.fft.rfft(self.kernel[:length], padded, 0)
        filtered: Tensor = torch.fft.irfft(spectrum, padded, 1)[:, :length]
        return filtered


class Fmlp(Backbone):
    """LayerNorm of vectors plus learnt positions, then the blocks.

    The published filter is a complex number for each of the max_len / 2 + 1 frequencies of the whole padded window.
    That is a circular convolution: the state at t reads the events after t, and the number of padded positions changes
    it. The authors' code trains every prefix of a history by its last position, where nothing lies ahead; trained on
    every position of one window, as all backbones here, each would see its own target. So the filter is learnt as
    its kernel, real and max_len long (as many numbers), and applied to the past only (docs/departures.md 29).
    """

    config: FmlpConfig
    structured = frozenset({"kernel"})

    def __init__(self, config: FmlpConfig) -> None:
        super().__init__(config)
        self.positions = nn.Embedding(config.max_len, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(_FmlpBlock(config) for _ in range(config.blocks))
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(
        self, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len dim"]:
        position_ids = torch.arange(x.shape[1], device=x.device)
        x = self.dropout(self.norm(x * self.config.dim**0.5 + self.positions(position_ids)))
        for block in self.blocks:
            x = block(x)
        return x
