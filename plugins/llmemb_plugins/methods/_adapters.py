"""Adapters: text vectors to the recommender's width.

Each starts with vectors of length about one (`std` an entry), whatever the width of the text vectors (entries of about
one), so that scores start small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    """W2 drop(f(W1 E + b1)) + b2; f is a GELU unless another is given."""

    def __init__(
        self,
        text_dim: int,
        inner_dim: int | None,
        dim: int,
        std: float,
        *,
        activation: Callable[[Tensor], Tensor] = functional.gelu,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(text_dim, inner_dim, dim, std)
        self.activation, self.dropout = activation, nn.Dropout(dropout)

    def forward(self, text: Float[Tensor, "rows text_dim"]) -> Float[Tensor, "rows dim"]:
        adapted: Tensor = self.second(self.dropout(self.activation(self.first(text))))
        return adapted


class OneLayer(nn.Module):
    """gelu(W E + b)."""

    def __init__(self, text_dim: int, dim: int, std: float) -> None:
        super().__init__()
        self.layer = nn.Linear(text_dim, dim)
        nn.init.normal_(self.layer.weight, std=2 * std * text_dim**-0.5)  # of small numbers a GELU leaves half

    def forward(self, text: Float[Tensor, "rows text_dim"]) -> Float[Tensor, "rows dim"]:
        return functional.gelu(self.layer(text))


class Projector(nn.Module):
    """relu(W2 drop(relu(W1 drop(E) + b1)) + b2): two layers alike, the first as wide as the second."""

    def __init__(self, text_dim: int, dim: int, std: float, dropout: float) -> None:
        super().__init__()
        self.first, self.second, self.dropout = nn.Linear(text_dim, dim), nn.Linear(dim, dim), nn.Dropout(dropout)
        nn.init.normal_(self.first.weight, std=(2 / text_dim) ** 0.5)
        nn.init.normal_(self.second.weight, std=std * (2 / dim) ** 0.5)

    def forward(self, text: Float[Tensor, "rows text_dim"]) -> Float[Tensor, "rows dim"]:
        inner = functional.relu(self.first(self.dropout(text)))
        return functional.relu(self.second(self.dropout(inner)))


class MixtureOfExperts(nn.Module):
    """sum_k g_k W_k (drop(E) - b_k), g = softmax(E W_g + z softplus(E W_n)), z noise in training (UniSRec, eqs. 3 to
    5).

    All experts see the same entries dropped; the code draws for each, at eight times the memory.
    """

    def __init__(self, text_dim: int, inner_dim: int | None, dim: int, std: float, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
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
        outputs = self.experts(self.dropout(text)).view(len(text), EXPERTS, -1) - shifts  # [rows, experts, dim]
        return torch.einsum("rk,rkd->rd", logits.softmax(-1), outputs)


class AdapterType(Protocol):
    """How an adapter is built."""

    def __call__(self, text_dim: int, inner_dim: int | None, dim: int, std: float) -> nn.Module: ...


ADAPTERS: Mapping[AdapterKind, AdapterType] = {"linear_linear": LinearLinear, "mlp": Mlp, "moe": MixtureOfExperts}
