"""What a method that trains declares: phases, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from llmemb_bench.contracts.task import Task


@runtime_checkable
class Batches(Protocol):
    """Where a phase's batches come from; each depends on seed, epoch and its number alone, so that a killed training
    can resume from any of them."""

    def __len__(self) -> int:
        """Steps per epoch."""

    def epoch(self, seed: int, number: int, skip: int = 0) -> Iterator[object]:
        """The batches of an epoch (from 1) without the first `skip` ones."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of training with a loss, weights and a schedule of its own; it starts from the weights that the previous
    one ended with, with a new optimiser.

    What is None is as the spec has it. Whatever a hook changes must be weights or persistent buffers: those are in
    every checkpoint, and a hook is not called again when a killed training resumes. Hooks run in eval mode, without
    gradients, with a seed of their own.
    """

    name: str
    """One word, for the log."""
    loss: Callable[..., Tensor] | None = None
    """A batch in, a scalar out that is a mean over the batch: any loss. None: the objective, as a VectorMethod's
    states, vectors and further losses have it, in parts and blocks that bound memory."""
    batches: Batches | None = None
    """Batches of its own, for its own loss. None: the training histories."""
    task: Task | None = None
    """What is predicted of the training histories. None: the method's own task."""
    weights: tuple[str, ...] = ("",)
    """Weights that it trains, by how their names begin: `("adapter.", "table")`; the others are frozen. By default all
    that the method does not freeze."""
    epochs: int | None = None
    """Epochs at most."""
    steps: int | None = None
    """Steps at most; None: as many as the epochs have, where `epochs` is given."""
    learning_rate: float | None = None
    batch_size: int | None = None
    """Histories per step."""
    early_stopping: bool = True
    """Whether validation ends it early and chooses its weights; without, it is validated once, at its end."""
    patience: int | None = None
    """Validations without improvement before it ends."""
    monitor: Callable[[], float] | None = None
    """What validation measures, higher being better. None: the validation ranking of the spec."""
    begin: Callable[[], None] | None = None
    """Called once, before its first step."""
    begin_epoch: Callable[[int], None] | None = None
    """Called with the number of each epoch (from 1), before its first step."""
