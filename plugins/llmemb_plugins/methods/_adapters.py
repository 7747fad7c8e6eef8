"""Adapters: text vectors to the recommender's width.

Each starts with vectors of length about one (`std` an entry), whatever the width of the text vectors (entries of about
one), so that scores start small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

AdapterKind = Literal["linear_linear", "mlp", "moe"]
EXPERTS = 8  # UniSRec
NOISE_FLOOR = 0.01  # UniSRec


class _TwoLayers(nn.Module):
    """W2 f(W1 E + b1) + b2."""

    def __init__(self, text_dim: int, inner_dim: int | None, dim: int, std: float) -> None:
        super().__init__()
        inner = inner_dim or max(text_dim // 2, dim)
        self.first, self.second = nn.Linear(text_dim, inner), nn.Linear(inner, dim)
        nn.init.normal_(self.first.weight, std=text_dim**-0.5)
        nn.init.normal_(self.second.weight, std=std * inner**-0.5)


class LinearLinear(_TwoLayers):
    """W2 (W1 E + b1) + b2: the paper's adapter."""

    def forward(self, text: Float[Tensor, "rows text_dim"]) -> Float[Tensor, "rows dim"]:
        # Both layers are one affine map: folded it costs text_dim x dim a row, and text_dim x inner x dim once.
        weight = self.second.weight @ self.first.weight
        return functional.linear(text, weight, self.second(self.first.bias))


class Mlp(_TwoLayers):
    """W2 gelu(W1 E + b1) + b2."""

    def forward(self, text: Float[Tensor, "rows text_dim"]) -> Float[Tensor, "rows dim"]:
        adapted: Tensor = self.second(functional.gelu(self.first(text)))
        return adapted


class MixtureOfExperts(nn.Module):
    """sum_k g_k W_k (E - b_k), g = softmax(E W_g + z softplus(E W_n)), z noise in training (UniSRec, eqs. 3 to 5)."""

    def __init__(self, text_dim: int, inner_dim: int | None, dim: int, std: float) -> None:
        super().__init__()
        self.experts = nn.Linear(text_dim, EXPERTS * dim, bias=False)
        self.shifts = nn.Parameter(torch.zeros(EXPERTS, text_dim))
        self.gate, self.noise = nn.Linear(text_dim, EXPERTS, bias=False), nn.Linear(text_dim, EXPERTS, bias=False)
        nn.init.normal_(self.experts.weight, std=std * (EXPERTS / text_dim) ** 0.5)
        for start in (self.gate, self.noise):
            nn.init.zeros_(start.weight)

    def forward(self, text: Float[Tensor, "rows text_dim"]) -> Float[Tensor, "rows dim"]:
        logits = self.gate(text)
        if self.training:
            spread = functional.softplus(self.noise(text)) + NOISE_FLOOR
            logits = logits + torch.randn_like(logits) * spread
        weights = self.experts.weight.view(EXPERTS, -1, text.shape[1])
        shifts = torch.einsum("kde,ke->kd", weights, self.shifts)
        outputs = self.experts(text).view(len(text), EXPERTS, -1) - shifts  # [rows, experts, dim]
        return torch.einsum("rk,rkd->rd", logits.softmax(-1), outputs)


class AdapterType(Protocol):
    """How an adapter is built."""

    def __call__(self, text_dim: int, inner_dim: int | None, dim: int, std: float) -> nn.Module: ...


ADAPTERS: Mapping[AdapterKind, AdapterType] = {"linear_linear": LinearLinear, "mlp": Mlp, "moe": MixtureOfExperts}
