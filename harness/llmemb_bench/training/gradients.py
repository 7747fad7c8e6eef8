"""The gradient of one step, in blocks of targets, parts of histories and shares of processes: always the same one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llmemb_bench.contracts import Batch, Objective, VectorMethod
from llmemb_bench.training.settings import TrainConfig
from llmemb_bench.world import world

POSITIONS_A_PART = {"cpu": 6400, "cuda": 1 << 17}
"""Positions whose activations are in memory at once; a batch of longer histories is taken in parts."""
BYTES = 2**20
"""In a megabyte."""


@dataclass(frozen=True)
class Value:
    """What a step minimised; of several processes, this one's share."""

    objective: Tensor
    auxiliary: Tensor
    curves: dict[str, float]
    """What the method tells about its auxiliary loss, and `auxiliary_share`: of the gradient by the item vectors, the
    auxiliary loss's length over the sum of both lengths. Empty where nobody asked, or there is no such loss."""

    @property
    def loss(self) -> Tensor:
        """Their sum."""
        return self.objective + self.auxiliary


def backward(
    method: VectorMethod, objective: Objective, batch: Batch, config: TrainConfig, *, told: bool = False
) -> Value:
    """Add the gradient of objective + auxiliary loss to the weights; `told`: with the method's curves.

    A target counts 1 / `targets_a_step`, whatever part, process or batch it is in. The auxiliary loss may compare all
    items of the batch, so every process takes it as a whole and an equal share of its gradient.
    """
    here, device, positions = world(), batch.rows.device, sum(group.numel() for group in batch.inputs)
    parts = here.size * max(
        min(config.accumulate, len(batch.users)), -(-positions // (here.size * POSITIONS_A_PART[device.type]))
    )
    own = [batch.part(number, parts) for number in range(parts)][here.rank :: here.size] if parts > 1 else [batch]
    coarse = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
    with coarse:
        made = method.items(batch.rows)
    vectors = made.detach().float().requires_grad_()  # what every part adds its gradient to
    auxiliary = method.auxiliary(batch, vectors) / here.size
    aligned = None
    if auxiliary.requires_grad:
        torch.autograd.backward(auxiliary)
        aligned = vectors.grad.clone() if told and vectors.grad is not None else None
    total = torch.zeros_like(auxiliary)
    for part in own:
        if part.inputs:
            with coarse:
                states = method.states_of(part, vectors)  # [targets, dim]
            share = len(part.places) / batch.targets_a_step
            total = total + share * _objective(objective, states.float(), vectors, part, share, config.scores_mb)
    gradient = torch.zeros_like(vectors) if vectors.grad is None else vectors.grad
    if made.requires_grad:
        torch.autograd.backward(made, gradient.to(made.dtype))
    curves: dict[str, float] = {}
    if aligned is not None:
        curves = {**method.curves(batch, vectors.detach()), "auxiliary_share": _share(aligned, gradient - aligned)}
    return Value(total, auxiliary.detach(), curves)


def _share(part: Tensor, rest: Tensor) -> float:
    """Length of a part over the sum of both lengths; 0 where there is none."""
    share: Tensor = part.norm() / (part.norm() + rest.norm()).clamp(min=torch.finfo(part.dtype).tiny)
    return share.item()


def _objective(
    objective: Objective, states: Tensor, vectors: Tensor, batch: Batch, share: float, scores_mb: int
) -> Tensor:
    """The objective's value; `share` of its gradient goes to the vectors, and through the states to the weights."""
    blocks = list(_blocks(objective, batch, vectors, scores_mb))
    if len(blocks) == 1:
        value: Tensor = objective(states, vectors, batch.positives, batch.negatives)
        torch.autograd.backward(share * value)
        return value.detach()
    ends, total = states.detach().requires_grad_(), torch.zeros((), device=states.device)
    for block in blocks:
        value = objective(ends[block], vectors, batch.positives[block], batch.negatives.of(block))
        weight = (block.stop - block.start) / len(states)
        torch.autograd.backward(share * weight * value)
        total = total + weight * value.detach()
    torch.autograd.backward(states, ends.grad)
    return total


def _blocks(objective: Objective, batch: Batch, vectors: Tensor, scores_mb: int) -> Iterator[slice]:
    """Targets whose scores fit into the memory allowed; the scores of a whole catalogue or of negatives."""
    n_rows, dim = vectors.shape
    width = n_rows if objective.whole_catalogue else batch.negatives.width(n_rows, dim)
    size = max(1, int(scores_mb * BYTES / (4 * max(width, 1))))
    targets = len(batch.places)
    for start in range(0, targets, size):
        yield slice(start, min(start + size, targets))


def share_gradients(weights: Sequence[Tensor]) -> None:
    """Add up the gradients of all processes, in one message; of a sparse one, whose rows all processes have in common,
    the values."""
    if world().size == 1:
        return
    values = []
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        elif weight.grad.is_sparse:
            weight.grad = weight.grad.coalesce()
        values.append(weight.grad.values() if weight.grad.is_sparse else weight.grad)
    whole = world().total(torch.cat([value.flatten() for value in values]))
    for value, summed in zip(values, torch.split(whole, [value.numel() for value in values]), strict=True):
        value.copy_(summed.view_as(value))
