"""The gradient of one step, in blocks of targets, parts of histories and shares of processes: always the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llmemb_bench.contracts import Batch, Objective, VectorMethod
from llmemb_bench.processes.world import world
from llmemb_bench.settings.train import TrainConfig

POSITIONS_PER_MICRO_BATCH = {"cpu": 6400, "cuda": 1 << 17}
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
    method: VectorMethod, objective: Objective, batch: Batch, config: TrainConfig, *, with_curves: bool = False
) -> Value:
    """Add the gradient of objective + further losses to the weights; `with_curves`: return the method's curves too.

    A target counts 1 / `targets_per_step` and a history 1 / `histories_per_step`, whichever micro-batch, process or
    batch it is in. The auxiliary loss may compare all items of the batch, so every process computes all of it and
    takes an equal share of its gradient.
    """
    here, device = world(), batch.rows.device
    coarse = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
    with coarse:
        made = method.items(batch.rows)
    vectors = made.detach().float().requires_grad_()  # what every part adds its gradient to
    batch = method.prepared(batch, vectors)
    auxiliary = method.auxiliary(batch, vectors) / here.size
    aligned = None
    if auxiliary.requires_grad:
        torch.autograd.backward(auxiliary)
        aligned = vectors.grad.clone() if with_curves and vectors.grad is not None else None
    further = auxiliary.detach()
    total = torch.zeros_like(further)
    similar = method.similarity.of_vectors(vectors)
    candidates = vectors if similar is vectors else similar.detach().requires_grad_()
    for micro_batch in _own_micro_batches(batch, config):
        with coarse:
            states = method.states_of(micro_batch, vectors)  # [targets, width]
        states = states.float()
        more = method.history_loss(micro_batch, states, vectors)
        if more is not None:
            more = more * (len(micro_batch.users) / batch.histories_per_step)
            further = further + more.detach()
        share = len(micro_batch.target_positions) / batch.targets_per_step
        scored = method.similarity.of_states(states)
        total = total + share * _objective(objective, scored, candidates, micro_batch, share, config.scores_mb, more)
    if candidates is not vectors and candidates.grad is not None:
        torch.autograd.backward(similar, candidates.grad)
    gradient = torch.zeros_like(vectors) if vectors.grad is None else vectors.grad
    if made.requires_grad:
        torch.autograd.backward(made, gradient.to(made.dtype))
    curves: dict[str, float] = {}
    if aligned is not None:
        curves = {**method.curves(batch, vectors.detach()), "auxiliary_share": _share(aligned, gradient - aligned)}
    return Value(total, further, curves)


def backward_of(loss: Callable[..., Tensor], batch: object, *, with_curves: bool = False) -> Value:
    """Add the gradient of a phase's own loss, which has no curves; every process computes all of it and takes an equal
    share of its gradient."""
    value = loss(batch) / world().size
    torch.autograd.backward(value)
    return Value(value.detach(), torch.zeros_like(value), {})


def _own_micro_batches(batch: Batch, config: TrainConfig) -> list[Batch]:
    """This process's parts of the histories, small enough for their activations."""
    here, positions = world(), sum(group.numel() for group in batch.inputs)
    parts = here.size * max(
        min(config.accumulate, len(batch.users)),
        -(-positions // (here.size * POSITIONS_PER_MICRO_BATCH[batch.rows.device.type])),
    )
    if parts == 1:
        return [batch]
    own = [batch.micro_batch(number, parts) for number in range(parts)][here.rank :: here.size]
    return [micro_batch for micro_batch in own if micro_batch.inputs]


def _share(part: Tensor, rest: Tensor) -> float:
    """Length of a part over the sum of both lengths; 0 where there is none."""
    share: Tensor = part.norm() / (part.norm() + rest.norm()).clamp(min=torch.finfo(part.dtype).tiny)
    return share.item()


def _objective(
    objective: Objective,
    states: Tensor,
    vectors: Tensor,
    batch: Batch,
    share: float,
    scores_mb: int,
    more: Tensor | None,
) -> Tensor:
    """The objective's value; `share` of its gradient goes to the vectors, and with that of `more` through the states
    to the weights."""
    blocks = list(_blocks(objective, batch, vectors, scores_mb))
    if len(blocks) == 1:
        value: Tensor = objective(states, vectors, batch.positives, batch.negatives, *_weights(batch, blocks[0]))
        torch.autograd.backward(share * value if more is None else share * value + more)
        return value.detach()
    ends, total = states.detach().requires_grad_(), torch.zeros((), device=states.device)
    for block in blocks:
        value = objective(
            ends[block], vectors, batch.positives[block], batch.negatives.of(block), *_weights(batch, block)
        )
        weight = (block.stop - block.start) / len(states)
        torch.autograd.backward(share * weight * value)
        total = total + weight * value.detach()
    torch.autograd.backward(*([states], [ends.grad]) if more is None else ([states, more], [ends.grad, None]))
    return total


def _weights(batch: Batch, block: slice) -> list[Tensor]:
    """Of the targets of a block, where there are any."""
    return [] if batch.weights is None else [batch.weights[block]]


def _blocks(objective: Objective, batch: Batch, vectors: Tensor, scores_mb: int) -> Iterator[slice]:
    """Targets whose scores fit into the memory allowed; the scores of a whole catalogue or of negatives."""
    n_rows, dim = vectors.shape
    width = n_rows if objective.whole_catalogue else batch.negatives.width(n_rows, dim)
    size = max(1, int(scores_mb * BYTES / (4 * max(width, 1))))
    targets = len(batch.target_positions)
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
