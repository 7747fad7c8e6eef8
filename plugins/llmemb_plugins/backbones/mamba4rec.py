"""Mamba4Rec: a selective state-space model over the history (Liu et al., 2024)."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Backbone, BackboneConfig, Depth
from llmemb_plugins.backbones._dropout import Dropout
from llmemb_plugins.backbones._scan import solve

_ROOM = 2**22
"""Numbers in the states of a chunk: 16 MB. More leave a processor's cache, fewer a GPU's cores idle (ours)."""
_SHORTEST = 4
"""Positions of a chunk at least."""


class Mamba4RecConfig(BackboneConfig):
    """Settings of `mamba4rec`."""

    layers: Depth = 1
    """Mamba layers (authors' code: 1). A single layer has no residual around its Mamba block, more have."""
    states: Annotated[int, Field(ge=1)] = 32
    """Numbers that each channel remembers (paper: 32)."""
    convolution: Annotated[int, Field(ge=1)] = 4
    """Events that the short convolution before the recurrence sees (paper: 4)."""
    expansion: Annotated[int, Field(ge=1)] = 2
    """Channels of the recurrence, in widths of the model (paper: 2)."""
    steps: Literal["spread", "equal"] = "spread"
    """Step sizes at the start. `spread`: log-uniform in 0.001..0.1 over the channels, as Mamba. `equal`: ln 2 for
    all, what Mamba4Rec's code trains, because it sets every bias to zero after Mamba has chosen its own."""


def selective_scan(
    x: Float[Tensor, "batch len channels"],
    step: Float[Tensor, "batch len channels"],
    rate: Float[Tensor, "channels states"],
    write: Float[Tensor, "batch len states"],
    read: Float[Tensor, "batch len states"],
) -> Float[Tensor, "batch len channels"]:
    """y_t = h_t read_t, where h_t = exp(step_t rate) h_{t-1} + step_t x_t write_t and rate < 0.

    Mamba's algorithm 2 (Gu & Dao, 2023, arXiv 2312.00752; Delta is `step`, A `rate`, B `write`, C `read`), in chunks:
    all positions of a chunk at once, its last state handed on. The backward pass computes a chunk's states again
    (the paper's section 3.3.2) from its first, so memory never holds [batch, len, channels, states].
    """
    with torch.autocast(x.device.type, enabled=False):  # coarse decays and sums would add up over the positions
        arguments = (part.float() if part.dtype == torch.bfloat16 else part for part in (x, step, rate, write, read))
        out: Tensor = _SelectiveScan.apply(*arguments)  # type: ignore[no-untyped-call]
    return out


class _SelectiveScan(torch.autograd.Function):
    """The gradient g of h is the same recurrence backwards: g_t = exp(step_{t+1} rate) g_{t+1} + dL/dy_t read_t."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> Tensor:
        state, out = x.new_zeros(x.shape[0], *rate.shape), torch.empty_like(x)
        decays, states = _buffer(x, rate), _buffer(x, rate)
        starts = []
        for chunk in _chunks(x, rate):
            if any(ctx.needs_input_grad):
                starts.append(state)
            h = _recur(decays, states, step[:, chunk], rate, (step * x)[:, chunk], write[:, chunk], state)
            out[:, chunk] = (h @ read[:, chunk, :, None])[..., 0]
            state = h[:, -1].clone()
        ctx.save_for_backward(x, step, rate, write, read, *starts)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, ...]:
        x, step, rate, write, read, *starts = ctx.saved_tensors
        outer = outer.contiguous()
        scaled, following = step * x, functional.pad(step[:, 1:], (0, 0, 0, 1))
        to_scaled, to_step, to_rate = torch.empty_like(x), torch.empty_like(x), torch.zeros_like(rate)
        to_write, to_read, later = torch.empty_like(write), torch.empty_like(read), torch.zeros_like(starts[0])
        decays, states, gradients = _buffer(x, rate), _buffer(x, rate), _buffer(x, rate)
        for chunk, start in reversed(list(zip(_chunks(x, rate), starts, strict=True))):
            h = _recur(decays, states, step[:, chunk], rate, scaled[:, chunk], write[:, chunk], start)
            to_read[:, chunk] = (outer[:, chunk, None] @ h)[:, :, 0]
            g = _recur(decays, gradients, following[:, chunk], rate, outer[:, chunk], read[:, chunk], later, True)
            later = g[:, 0].clone()
            to_scaled[:, chunk] = (g @ write[:, chunk, :, None])[..., 0]
            to_write[:, chunk] = (scaled[:, chunk, None] @ g)[:, :, 0]
            # dL/d(step_t rate) = g_t exp(step_t rate) h_{t-1}, and the latter is h_t without its input.
            h.addcmul_(scaled[:, chunk, :, None], write[:, chunk, None], value=-1).mul_(g)
            to_step[:, chunk] = torch.mul(h, rate, out=decays[:, : h.shape[1]]).sum(-1)
            to_rate += h.mul_(step[:, chunk, :, None]).sum((0, 1))
        return to_scaled * step, to_step + to_scaled * x, to_rate, to_write, to_read


def _length(x: Tensor, rate: Tensor) -> int:
    """Positions of a chunk."""
    return min(max(_SHORTEST, _ROOM // (x.shape[0] * rate.numel())), x.shape[1])


def _chunks(x: Tensor, rate: Tensor) -> list[slice]:
    size = _length(x, rate)
    return [slice(start, min(start + size, x.shape[1])) for start in range(0, x.shape[1], size)]


def _buffer(x: Tensor, rate: Tensor) -> Tensor:
    """Room for the states of a chunk; taken once, because fresh memory costs more than the arithmetic."""
    return x.new_empty(x.shape[0], _length(x, rate), *rate.shape)


def _recur(
    decays: Tensor,
    states: Tensor,
    step: Tensor,
    rate: Tensor,
    left: Tensor,
    right: Tensor,
    start: Tensor,
    backwards: bool = False,
) -> Tensor:
    """h_t = exp(step_t rate) h_{t-1} + left_t right_t from `start` on, in the buffers; backwards from h_{t+1}."""
    decays, states = decays[:, : step.shape[1]], states[:, : step.shape[1]]
    torch.mul(step[..., None], rate, out=decays).exp_()
    torch.mul(left[..., None], right[:, :, None], out=states)
    first = -1 if backwards else 0
    states[:, first].addcmul_(decays[:, first], start)
    solve(decays, states, backwards)
    return states


class _Mamba(nn.Module):
    """Mamba's block: x, z = W x;  x = SiLU(causal convolution of x, channel by channel);  step, write, read from x,
    step = softplus(V2 V1 x + bias) through ceil(dim / 16) numbers;  y = O((selective_scan(x, ...) + D x) * SiLU(z)).

    `rate` starts at -1, ..., -states in every channel (S4D-real), D at 1.
    """

    def __init__(self, config: Mamba4RecConfig) -> None:
        super().__init__()
        channels, rank = config.expansion * config.dim, math.ceil(config.dim / 16)
        self.split = [rank, config.states, config.states]
        self.into = nn.Linear(config.dim, 2 * channels, bias=False)
        self.convolution = nn.Conv1d(channels, channels, config.convolution, groups=channels)
        self.select = nn.Linear(channels, sum(self.split), bias=False)
        self.step = nn.Linear(rank, channels)
        self.log_rate = nn.Parameter(torch.arange(1.0, config.states + 1).log().repeat(channels, 1))
        self.skip = nn.Parameter(torch.ones(channels))
        self.out = nn.Linear(channels, config.dim, bias=False)

    def forward(self, x: Float[Tensor, "batch len dim"]) -> Float[Tensor, "batch len dim"]:
        x, gate = self.into(x).chunk(2, -1)
        x = functional.silu(self._convolve(x))
        low, write, read = self.select(x).split(self.split, -1)
        remembered = selective_scan(x, functional.softplus(self.step(low)), -self.log_rate.exp(), write, read)
        out: Tensor = self.out((remembered + self.skip * x) * functional.silu(gate))
        return out

    @torch.no_grad()
    def spread_steps(self) -> None:
        """softplus(bias) is log-uniform in 0.001..0.1 (Mamba's code)."""
        steps = torch.empty_like(self.step.bias).uniform_(math.log(0.001), math.log(0.1)).exp()
        self.step.bias.copy_(steps.expm1().log())

    def _convolve(self, x: Float[Tensor, "batch len channels"]) -> Float[Tensor, "batch len channels"]:
        before = self.convolution.kernel_size[0] - 1
        seen: Tensor = self.convolution(functional.pad(x.transpose(1, 2), (before, 0)))
        return seen.transpose(1, 2)


class _MambaLayer(nn.Module):
    """z = norm(mamba(x)), or norm(x + mamba(x)) with several layers;  y = norm(z + W2 GELU(W1 z)), inner width 4 dim.

    Norms have the epsilon 1e-12 of the authors' code: without a residual they lift what starts out very small.
    """

    def __init__(self, config: Mamba4RecConfig) -> None:
        super().__init__()
        self.residual = config.layers > 1
        self.mamba = _Mamba(config)
        self.inner, self.outer = nn.Linear(config.dim, 4 * config.dim), nn.Linear(4 * config.dim, config.dim)
        self.norm_mamba, self.norm_net = nn.LayerNorm(config.dim, eps=1e-12), nn.LayerNorm(config.dim, eps=1e-12)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "batch len dim"]) -> Float[Tensor, "batch len dim"]:
        mixed = self.dropout(self.mamba(x))
        x = self.norm_mamba(x + mixed if self.residual else mixed)
        inner = self.dropout(functional.gelu(self.inner(x)))
        states: Tensor = self.norm_net(x + self.dropout(self.outer(inner)))
        return states


class Mamba4Rec(Backbone):
    """LayerNorm of the item vectors (so their scale does not matter), then Mamba layers (arXiv 2403.03900); no
    positions, no compiled kernels."""

    config: Mamba4RecConfig
    structured = frozenset({"log_rate"})

    def __init__(self, config: Mamba4RecConfig) -> None:
        super().__init__(config)
        self.norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(_MambaLayer(config) for _ in range(config.layers))
        self.apply(_start)
        for module in self.modules():
            if config.steps == "spread" and type(module) is _Mamba:
                module.spread_steps()

    def forward(
        self, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len dim"]:
        x = self.norm(self.dropout(x))
        for layer in self.layers:
            x = layer(x)
        return x


def _start(module: nn.Module) -> None:
    """The start of all linear layers in the authors' code."""
    if type(module) is nn.Linear:
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
