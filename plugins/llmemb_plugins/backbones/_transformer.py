"""The attention block that `sasrec` and `bert4rec` share."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Pre-norm self-attention and a two-layer feed-forward net, each with dropout and a residual."""

    def __init__(self, dim: int, heads: int, dropout: float, activation: nn.Module, inner: int) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_net = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.project = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.net = nn.Sequential(
            nn.Linear(dim, inner), activation, nn.Dropout(dropout), nn.Linear(inner, dim), nn.Dropout(dropout)
        )

    def forward(
        self, x: Float[Tensor, "batch len dim"], visible: Bool[Tensor, "batch len"] | None
    ) -> Float[Tensor, "batch len dim"]:
        """`visible` are the positions that may be attended to; None means causal attention."""
        x = x + self._attend(self.norm_attention(x), visible)
        net: Tensor = self.net(self.norm_net(x))
        return x + net

    def _attend(
        self, x: Float[Tensor, "batch len dim"], visible: Bool[Tensor, "batch len"] | None
    ) -> Float[Tensor, "batch len dim"]:
        batch, length, dim = x.shape
        split = self.project(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys, values = split.unbind(0)  # each [batch, heads, len, dim / heads]
        attended = functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=None if visible is None else visible[:, None, None, :],
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=visible is None,
        )
        out: Tensor = self.out(attended.transpose(1, 2).reshape(batch, length, dim))
        return functional.dropout(out, self.dropout, self.training)
