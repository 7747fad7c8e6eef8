"""LRURec: linear recurrent units with complex diagonal memory (Yue et al., WSDM 2024)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Bool, Complex, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Backbone, BackboneConfig, Depth
from llmemb_plugins.backbones._dropout import Dropout
from llmemb_plugins.backbones._scan import scan


class LruRecConfig(BackboneConfig):
    """Settings of `lrurec`."""

    blocks: Depth = 2
    """Blocks of a recurrent unit and a feed-forward net (paper: 2)."""
    slowest: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Largest modulus of an eigenvalue at the start: how much of a memory one event leaves (authors' code: 0.99)."""
    fastest: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Smallest modulus at the start (authors' code: 0.8)."""


class _Recurrence(nn.Module):
    """h_t = lambda h_{t-1} + gamma B x_t;  y_t = Re(C h_t), with lambda = exp(-exp(nu) + i exp(theta)).

    The linear recurrent unit (Orvieto et al., ICML 2023) of width 2 dim: |lambda| < 1 whatever is learnt, and gamma
    starts at sqrt(1 - |lambda|^2), which keeps the size of h. B and C have biases (authors' code). They are stored
    as real matrices of the real and the imaginary part, side by side.
    """

    def __init__(self, dim: int, fastest: float, slowest: float) -> None:
        super().__init__()
        width = 2 * dim
        modulus = (torch.rand(width) * (slowest**2 - fastest**2) + fastest**2).sqrt()  # uniform in the ring
        self.nu = nn.Parameter((-modulus.log()).log())
        self.theta = nn.Parameter(((1 - torch.rand(width)) * 2 * math.pi).log())
        self.gamma = nn.Parameter((1 - modulus**2).sqrt().log())
        self.into, self.out = nn.Linear(dim, 2 * width), nn.Linear(2 * width, dim)

    def forward(self, x: Float[Tensor, "batch len dim"]) -> Float[Tensor, "batch len dim"]:
        real, imaginary = (self.into(x) * self.gamma.exp().repeat(2)).chunk(2, -1)
        states = scan(self.eigenvalues().expand(1, x.shape[1], -1), torch.complex(real, imaginary))
        out: Tensor = self.out(torch.cat([states.real, states.imag], -1))
        return out

    def eigenvalues(self) -> Complex[Tensor, "width"]:
        return torch.polar((-self.nu.exp()).exp(), self.theta.exp())


class _LruBlock(nn.Module):
    """z = norm(x + recurrence(x));  y = norm(z + W2 GELU(W1 z)), inner width 4 dim, each with dropout."""

    def __init__(self, config: LruRecConfig) -> None:
        super().__init__()
        self.recurrence = _Recurrence(config.dim, config.fastest, config.slowest)
        self.inner, self.outer = nn.Linear(config.dim, 4 * config.dim), nn.Linear(4 * config.dim, config.dim)
        self.norm_recurrence, self.norm_net = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "batch len dim"]) -> Float[Tensor, "batch len dim"]:
        x = self.norm_recurrence(x + self.dropout(self.recurrence(x)))
        inner = self.dropout(functional.gelu(self.inner(x)))
        states: Tensor = self.norm_net(x + self.dropout(self.outer(inner)))
        return states


class LruRec(Backbone):
    """LayerNorm of the item vectors (so their scale does not matter), then the blocks; no positions.

    The recurrence runs at all positions at once, in a logarithmic number of steps (the paper's parallelisation).
    Left out: the bias of each item that the authors' code adds to the scores, since a backbone never sees an id.
    """

    config: LruRecConfig

    def __init__(self, config: LruRecConfig) -> None:
        super().__init__(config)
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(_LruBlock(config) for _ in range(config.blocks))
        for module in self.modules():
            if type(module) is nn.Linear:  # biases too (authors' code)
                for weight in module.parameters():
                    nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)

    def forward(
        self, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len dim"]:
        x = self.norm(self.dropout(x))
        for block in self.blocks:
            x = block(x)
        return x
