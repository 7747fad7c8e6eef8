"""Linear recurrences h_t = a_t h_{t-1} + b_t at all positions at once; `lrurec` and `mamba4rec` share them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Inexact
from torch import Tensor

_PARTS = 4
"""Solved stretches that one level joins: 2 is plain doubling, 4 has half the levels and three quarters of the work."""


def scan(
    decay: Inexact[Tensor, "#batch len *channels"], inputs: Inexact[Tensor, "batch len *channels"]
) -> Inexact[Tensor, "batch len *channels"]:
    """h_t = decay_t h_{t-1} + inputs_t with h_{-1} = 0, elementwise, real or complex.

    Its gradient is the same recurrence backwards: g_t = dL/dh_t + conj(decay_{t+1}) g_{t+1}, then
    dL/dinputs_t = g_t and dL/ddecay_t = g_t conj(h_{t-1}).
    """
    states: Tensor = _Scan.apply(decay, inputs)  # type: ignore[no-untyped-call]
    return states


class _Scan(torch.autograd.Function):
    """Keeps the decays and the states, not the levels between them."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, inputs: Tensor) -> Tensor:
        states = inputs.clone(memory_format=torch.contiguous_format)
        solve(decay.clone(memory_format=torch.contiguous_format), states)
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor]:
        decay, states = ctx.saved_tensors
        gradient = outer.clone(memory_format=torch.contiguous_format)
        solve(decay.roll(-1, 1).conj().resolve_conj(), gradient, backwards=True)
        to_decay = torch.zeros_like(states)
        torch.mul(gradient[:, 1:], states[:, :-1].conj(), out=to_decay[:, 1:])
        return to_decay.sum_to_size(decay.shape), gradient


def solve(
    decay: Inexact[Tensor, "#batch len *channels"],
    inputs: Inexact[Tensor, "batch len *channels"],
    backwards: bool = False,
) -> None:
    """Turn inputs into states where they stand; `decay` is used up. Backwards, h_t = decay_t h_{t+1} + inputs_t.

    Exact, in log4(len) levels: a solved stretch is joined to the one before it, which ends at m, by
    h_t += (decay_t ... decay_{m+1}) h_m at all its positions (LRURec's recursive parallelisation).
    Only products of decays occur, never a quotient, so that nothing overflows while |decay| <= 1.
    """
    length, width = inputs.shape[1], 1
    while width < length:
        whole = length - length % (_PARTS * width)  # positions in full groups; the rest is one shorter group
        for group in (slice(0, whole), slice(whole, length)):
            if group.stop - group.start > width:
                last = _PARTS * width >= length
                _join(_groups(decay[:, group], width), _groups(inputs[:, group], width), width, last, backwards)
        width *= _PARTS


def _groups(x: Tensor, width: int) -> Tensor:
    """[batch, groups, positions of a group, ...], a view."""
    size = min(_PARTS * width, x.shape[1])
    return x.view(x.shape[0], x.shape[1] // size, size, *x.shape[2:])


def _join(decay: Tensor, states: Tensor, width: int, last: bool, backwards: bool) -> None:
    """Carry each stretch's final state through the next one; the last level needs no products of decays."""
    size = states.shape[2]
    starts = range(width, size, width)
    for start in reversed(starts) if backwards else starts:
        here, edge = slice(start, min(start + width, size)), slice(start - 1, start)
        if backwards:
            here, edge = slice(start - width, start), slice(start, start + 1)
        states[:, :, here].addcmul_(decay[:, :, here], states[:, :, edge])
        if not last:
            decay[:, :, here].mul_(decay[:, :, edge])
