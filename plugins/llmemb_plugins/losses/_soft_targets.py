"""Cross-entropy in both directions against soft targets, with its gradient, in tiles that a core's cache holds.

Alignment compares every item of a batch with every other, and written as a chain of matrix operations most of its time
goes into moving matrices of items x items through memory. Here each tile of rows is finished while it is in the cache.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from llmemb_plugins.losses._negatives import NEVER, without_duplicates

ENTRIES_PER_TILE = {"cpu": 1 << 20, "cuda": 1 << 26}
LARGEST_LOGIT, WIDEST_SPREAD = 40.0, 80.0
"""Sums of exp in float32 need no shift below the one, and one shift does for all within the other."""
_WORKSPACES = threading.local()


def soft_cross_entropy(
    left: Float[Tensor, "batch dim"],
    right: Float[Tensor, "batch dim"],
    scale: Tensor,
    sharpness: Tensor,
    duplicates: Bool[Tensor, "batch batch"] | None,
    targets_move: bool,
) -> Float[Tensor, ""]:
    """mean of CE(S, T) and CE(S', T') over the batch; S = scale XY', T = softmax(sharpness (XX' + YY') / 2)."""
    shift = _shift(left, right, scale, duplicates)
    arguments = (left, right, scale, sharpness, duplicates, targets_move)
    value: Tensor = directly(*arguments) if shift is None else InTiles.apply(*arguments, shift)  # type: ignore[no-untyped-call]  # torch
    return value


@torch.no_grad()
def _shift(left: Tensor, right: Tensor, scale: Tensor, duplicates: Tensor | None) -> Tensor | None:
    """What to subtract from all logits so that no row or column of exp S is out of float32's range; None: no number."""
    bound = scale.abs() * left.norm(dim=1).max() * right.norm(dim=1).max()  # Cauchy and Schwarz
    if bound < LARGEST_LOGIT:
        return torch.zeros_like(bound)
    logits = without_duplicates(scale * (left @ right.T), duplicates)
    highest, lowest = logits.max(), torch.minimum(logits.amax(0).min(), logits.amax(1).min())
    return highest if highest - lowest < WIDEST_SPREAD else None


def directly(
    left: Float[Tensor, "batch dim"],
    right: Float[Tensor, "batch dim"],
    scale: Tensor,
    sharpness: Tensor,
    duplicates: Bool[Tensor, "batch batch"] | None,
    targets_move: bool,
) -> Float[Tensor, ""]:
    """The formula, for logits of any size."""
    logits = without_duplicates(scale * (left @ right.T), duplicates)  # [batch, batch]
    likeness = (left @ left.T + right @ right.T) / 2  # [batch, batch]
    targets = without_duplicates(sharpness * likeness, duplicates).softmax(1)
    targets = targets if targets_move else targets.detach()
    return -(targets * (logits.log_softmax(1) + logits.log_softmax(0))).sum() / (2 * len(left))


@dataclass(frozen=True)
class Pairs:
    """Two aligned batches, and the factors of logits and targets."""

    left: Float[Tensor, "batch dim"]
    right: Float[Tensor, "batch dim"]
    scale: Tensor
    sharpness: Tensor
    duplicates: Bool[Tensor, "batch batch"] | None
    shift: Tensor

    def tiles(self) -> Iterator[slice]:
        """Rows at a time."""
        size = len(self.left)
        rows = max(1, ENTRIES_PER_TILE[self.left.device.type] // max(size, 1))
        return (slice(start, min(start + rows, size)) for start in range(0, size, rows))

    def hide_duplicates(self, tile: Float[Tensor, "rows batch"], rows: slice) -> Float[Tensor, "rows batch"]:
        """In place: rows of one meaning are no negatives of each other."""
        return tile if self.duplicates is None else tile.masked_fill_(self.duplicates[rows], NEVER)


@dataclass
class Gradients:
    """Of the sum of T (2S - r - c) over all pairs; None where nobody asks."""

    left: Tensor | None
    right: Tensor | None
    scale: Tensor | None
    sharpness: Tensor | None

    def all(self) -> list[Tensor | None]:
        """In the order of the arguments."""
        return [self.left, self.right, self.scale, self.sharpness]


class InTiles(torch.autograd.Function):
    """With r and c the logarithms of the row and column sums of exp S, and p the column sums of T, the value is
    -sum(T G) / 2B with G = 2S - r - c; its gradient by S has -(2T - exp(S - r) - p exp(S - c)) / 2B, and by the logits
    of T it has -T (G - rowsum(T G)) / 2B. A shift of all of S changes none of these."""

    @staticmethod
    def forward(
        ctx: Any,
        left: Tensor,
        right: Tensor,
        scale: Tensor,
        sharpness: Tensor,
        duplicates: Tensor | None,
        targets_move: bool,
        shift: Tensor,
    ) -> Tensor:
        tensors = (left, right, scale, sharpness)
        asked = zip(tensors, ctx.needs_input_grad, strict=False)
        gradients = Gradients(*(torch.zeros_like(tensor) if needed else None for tensor, needed in asked))
        value = _evaluate(Pairs(*tensors, duplicates, shift), gradients, targets_move)
        ctx.save_for_backward(*gradients.all())
        ctx.size = len(left)
        return value / (-2 * len(left))

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        factor = upstream[0] / (-2 * ctx.size)
        saved = ctx.saved_tensors
        return *(None if gradient is None else factor * gradient for gradient in saved), None, None, None


def _evaluate(pairs: Pairs, gradients: Gradients, targets_move: bool) -> Tensor:
    """The sum of T G over all pairs; its gradients are added to `gradients`."""
    workspace = Workspace.of(pairs)
    logits, targets = workspace.logits, workspace.targets
    rows_sum, columns_sum, mass = _sums(pairs, workspace)
    rows_log, columns_log = rows_sum.log(), columns_sum.log()
    value = pairs.left.new_zeros(())
    for rows in pairs.tiles():
        first, second = workspace.first[: len(logits[rows])], workspace.second[: len(logits[rows])]
        excess = torch.add(-columns_log, logits[rows], alpha=2, out=first)  # G + r
        mean = torch.mul(targets[rows], excess, out=second).sum(1)  # [rows], the rows of T sum to one
        value += mean.sum() - rows_log[rows].sum()
        if targets_move:
            _add_through_targets(pairs, rows, excess.sub_(mean[:, None]).mul_(targets[rows]), gradients)
        # -dS = exp(S) (1 / rowsum + p / colsum) - 2T
        slope = torch.exp(logits[rows], out=first)
        slope.mul_(torch.add((1 / rows_sum)[rows, None], mass / columns_sum, out=second)).sub_(targets[rows], alpha=2)
        _add_through_logits(pairs, rows, slope, logits[rows], gradients)
    return value


@dataclass(frozen=True)
class Workspace:
    """Memory that is kept between calls: the system takes longer to hand out new pages than we to fill them."""

    logits: Float[Tensor, "batch batch"]
    targets: Float[Tensor, "batch batch"]
    first: Float[Tensor, "tile batch"]
    second: Float[Tensor, "tile batch"]

    @classmethod
    def of(cls, pairs: Pairs) -> Workspace:
        """For pairs of this size."""
        size, tile = len(pairs.left), next(pairs.tiles()).stop
        name, entries = f"{pairs.left.device} {pairs.left.dtype}", 2 * (size + tile) * size
        kept: Tensor | None = getattr(_WORKSPACES, name, None)
        if kept is None or len(kept) < entries:
            kept = pairs.left.new_empty(entries)
            setattr(_WORKSPACES, name, kept)
        return cls(*torch.split(kept[:entries].view(-1, size), [size, size, tile, tile]))


def _sums(pairs: Pairs, workspace: Workspace) -> tuple[Tensor, Tensor, Tensor]:
    """Fill S and T; row and column sums of exp S, column sums of T."""
    both = torch.cat([pairs.left, pairs.right], dim=1)
    scaled, sharpened = pairs.left * pairs.scale, both * (pairs.sharpness / 2)
    rows_sum, columns_sum, mass = pairs.left.new_zeros(3, len(both))
    for rows in pairs.tiles():
        logits, targets = workspace.logits[rows], workspace.targets[rows]
        torch.addmm(-pairs.shift, scaled[rows], pairs.right.T, out=logits)
        grown = torch.exp(pairs.hide_duplicates(logits, rows), out=workspace.first[: len(logits)])
        rows_sum[rows] = grown.sum(1)
        columns_sum += grown.sum(0)
        likeness = torch.mm(sharpened[rows], both.T, out=workspace.first[: len(logits)])
        torch.softmax(pairs.hide_duplicates(likeness, rows), 1, out=targets)
        mass += targets.sum(0)
    return rows_sum, columns_sum, mass


def _add_through_logits(pairs: Pairs, rows: slice, slope: Tensor, logits: Tensor, gradients: Gradients) -> None:
    """`slope` is the gradient by S but for its sign; its sum is zero, so it does not matter here that S is shifted."""
    if gradients.left is not None:
        gradients.left[rows].addmm_(slope, pairs.right * -pairs.scale)
    if gradients.right is not None:
        gradients.right.addmm_(slope.T, pairs.left[rows] * -pairs.scale)
    if gradients.scale is not None:
        gradients.scale -= (slope * logits).sum() / pairs.scale


def _add_through_targets(pairs: Pairs, rows: slice, slope: Tensor, gradients: Gradients) -> None:
    half = pairs.sharpness / 2
    for part, gradient in ((pairs.left, gradients.left), (pairs.right, gradients.right)):
        if gradient is not None:
            gradient[rows].addmm_(slope, part * half)
            gradient.addmm_(slope.T, part[rows] * half)
    if gradients.sharpness is not None:
        likeness = (pairs.left[rows] @ pairs.left.T).addmm_(pairs.right[rows], pairs.right.T)
        gradients.sharpness += (slope * likeness).sum() / 2
