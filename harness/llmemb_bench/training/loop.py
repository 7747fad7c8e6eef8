"""The training loop: Adam, a validation ranking each epoch, the best epoch's weights kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from llmemb_bench.contracts import Batch, Objective, VectorMethod
from llmemb_bench.errors import DataError
from llmemb_bench.progress import track
from llmemb_bench.seeds import generator
from llmemb_bench.training.batches import TrainingBatches
from llmemb_bench.training.settings import TrainConfig


@dataclass(frozen=True)
class ValidationScore:
    """What training may see of an evaluation; test scores have no such type."""

    value: float


@dataclass
class TrainingLog:
    """What happened, one event an epoch."""

    events: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = float("-inf")


def train(
    method: VectorMethod,
    objective: Objective,
    batches: TrainingBatches,
    config: TrainConfig,
    validate: Callable[[], ValidationScore],
    seed: int,
) -> TrainingLog:
    """Train in place; ends with the weights of the best validated epoch. NaN loss is a DataError."""
    log = TrainingLog()
    best: dict[str, Tensor] = {}
    optimizer = torch.optim.Adam([*method.parameters(), *objective.parameters()], lr=config.learning_rate, fused=True)
    with track("train", config.epochs, "epochs") as work:
        for epoch in range(1, config.epochs + 1):
            event: dict[str, Any] = {
                "epoch": epoch,
                "loss": _epoch(method, objective, batches, optimizer, epoch, seed),
            }
            if epoch % config.validate_every == 0 or epoch == config.epochs:
                event["validation"] = validate().value
                if event["validation"] > log.best_score:
                    log.best_epoch, log.best_score = epoch, event["validation"]
                    best = {name: tensor.clone() for name, tensor in method.state_dict().items()}
            log.events.append(event)
            work.advance(
                note=f"loss {event['loss']:.4f}  best {config.monitor.use} {log.best_score:.4f} at {log.best_epoch}"
            )
            if epoch - max(log.best_epoch, 1) >= config.patience * config.validate_every:
                break
    method.load_state_dict(best)
    return log


def _epoch(
    method: VectorMethod,
    objective: Objective,
    batches: TrainingBatches,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    seed: int,
) -> float:
    """Mean loss of one pass."""
    method.train()
    total = torch.zeros(())
    for step, batch in enumerate(batches.epoch(generator(seed, "batches", epoch)), start=1):
        loss = loss_of(method, objective, batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.detach()
        if not torch.isfinite(loss):
            raise DataError(
                f"the loss is {loss.item()} in epoch {epoch}, step {step}",
                where="training",
                fix="set a smaller recommender.train.learning_rate",
            )
    return float(total / len(batches))


def loss_of(method: VectorMethod, objective: Objective, batch: Batch) -> Tensor:
    """Objective at the predicted places plus the method's auxiliary loss."""
    vectors = method.items(batch.rows)
    states = method.encode(batch.inputs, vectors).flatten(0, 1)[batch.places]  # [targets, dim]
    main: Tensor = objective(states, vectors, batch.positives, batch.negatives)
    return main + method.auxiliary(batch, vectors)
