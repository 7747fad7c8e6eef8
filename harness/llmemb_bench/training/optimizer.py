"""Adam for all weights, and lazy Adam for the rows of id tables that a step touches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import torch
from torch import Tensor, nn

from llmemb_bench.base.errors import SpecError
from llmemb_bench.contracts import Objective, Trained
from llmemb_bench.processes import checkpoint
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.training.gradients import share_gradients


class Adam(TypedDict):
    """What both kinds of Adam are given."""

    lr: float
    betas: tuple[float, float]
    eps: float


class Optimizer:
    """Steps over those weights of a method, and of an objective if there is one, that require a gradient."""

    def __init__(self, method: Trained, objective: Objective | None, config: TrainConfig) -> None:
        self.clip = config.clip
        self._modules: dict[str, nn.Module] = {"method": method} | (
            {} if objective is None else {"objective": objective}
        )
        self.weights: dict[str, nn.Parameter] = {
            name: weight
            for prefix, module in self._modules.items()
            for name, weight in checkpoint.trained(module, prefix)
        }
        tables = sparse_tables(method, config)
        ids = {id(table) for table in tables}
        dense = [weight for weight in self.weights.values() if id(weight) not in ids]
        adam: Adam = {"lr": config.learning_rate, "betas": (config.betas[0], config.betas[1]), "eps": config.epsilon}
        self._optimizers: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.AdamW(dense, weight_decay=config.weight_decay, fused=True, **adam)
        }
        if tables:
            self._optimizers["lazy"] = torch.optim.SparseAdam(tables, **adam)

    def step(self) -> None:
        """Move the weights along their gradients, and forget those."""
        share_gradients(list(self.weights.values()))
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.weights.values(), self.clip)
        for optimizer in self._optimizers.values():
            optimizer.step()
            optimizer.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        """Weights, buffers and momenta, for a checkpoint."""
        found: dict[str, Tensor] = {
            f"{prefix}.{name}": tensor
            for prefix, module in self._modules.items()
            for name, tensor in module.state_dict().items()
        }
        for name, optimizer in self._optimizers.items():
            found |= checkpoint.optimizer_tensors(optimizer, name)
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        for prefix, module in self._modules.items():
            start = f"{prefix}."
            module.load_state_dict(
                {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
            )
        for name, optimizer in self._optimizers.items():
            checkpoint.restore_optimizer(optimizer, tensors, name)


def sparse_tables(method: Trained, config: TrainConfig) -> list[Tensor]:
    """Id tables of which a step moves only some rows, none where it moves all; raises SpecError where there is no
    such table, or where other settings look at all rows."""
    if config.rows == "all":
        return []
    tables = method.tables()
    if not tables:
        raise SpecError(
            "the method has no id table, of which only some rows could be moved",
            where="recommender.train.rows",
            fix="leave 'rows' out",
        )
    if config.weight_decay or config.clip is not None:
        raise SpecError(
            "weight_decay and clip look at all rows",
            where="recommender.train.rows",
            fix="rows: all, or leave them out",
        )
    moved = [table for table in tables if table.weight.requires_grad]
    for table in moved:
        table.sparse = True
    return [table.weight for table in moved]
