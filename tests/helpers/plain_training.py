"""Losses of a batch written plainly, one history after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmemb_bench.base.ids import PAD
from llmemb_bench.contracts import Batch
from llmemb_bench.values.split import Split


def plain_states(backbone: nn.Module, x: Tensor) -> Tensor:
    """[len, dim] of one history, alone."""
    states: Tensor = backbone(x[None], torch.ones(1, len(x), dtype=torch.bool))[0]
    return states


def plain_bce(states_of: Callable[[Tensor], Any], vectors: Tensor, batch: Batch) -> Tensor:
    """Each target of the batch, one after another; `vectors` [ids, width] in float64."""
    total, target, place = torch.zeros((), dtype=torch.float64), 0, 0
    for group in batch.inputs:
        for row in group:
            history = batch.rows[row[row != PAD] - 1]
            states = states_of(history)
            for position in range(len(row)):
                if target < len(batch.target_positions) and batch.target_positions[target] == place + position:
                    hit = states[position] @ vectors[batch.rows[batch.positives[target]]]
                    misses = [
                        states[position] @ vectors[batch.rows[negative]] for negative in batch.negatives.rows[target]
                    ]
                    total = total - torch.log(torch.sigmoid(hit))
                    total = total - sum(torch.log(1 - torch.sigmoid(miss)) for miss in misses) / len(misses)
                    target += 1
            place += len(row)
    assert target == len(batch.target_positions)
    return total / batch.targets_per_step


def history_of(split: Split, user: int, longest: int = 6) -> Tensor:
    """The latest training events of a user."""
    history = split.data.history(user)[: split.n_train[user]]
    return torch.from_numpy(history[-longest:].astype(np.int64))


def gradients(method: nn.Module) -> dict[str, Tensor]:
    """Of every weight that has one, in float64; they are taken off the weights."""
    found = {
        name: weight.grad.to_dense().double() for name, weight in method.named_parameters() if weight.grad is not None
    }
    method.zero_grad()
    return found


def assert_same_gradients(found: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    """Those of float32 and those of the plain float64 writing; none is as good as zero."""
    for name in found | right:
        values = [side.get(name, torch.zeros_like((found | right)[name])) for side in (found, right)]
        torch.testing.assert_close(*values, rtol=1e-3, atol=2e-5, msg=lambda told, name=name: f"{name}: {told}")
