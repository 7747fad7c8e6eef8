"""What a phase makes of the settings, and which weights it moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llmemb_bench.base.errors import SpecError
from llmemb_bench.contracts import Phase, Trained
from llmemb_bench.settings.train import TrainConfig

OWN = ("epochs", "steps", "learning_rate", "batch_size", "patience")
"""Settings that a phase may have its own value of."""


def phases_of(method: Trained) -> Sequence[Phase]:
    """What the method declares; SpecError where that is nothing, or two phases of one name."""
    phases = list(method.phases())
    names = [phase.name for phase in phases]
    if not phases or len(set(names)) < len(names):
        raise SpecError(
            f"{type(method).__name__} declares the phases {names}; at least one is needed, each with another name",
            where="recommender.method",
            fix="fix the method's phases()",
        )
    return phases


def configured(phase: Phase, config: TrainConfig) -> TrainConfig:
    """The settings of training with what the phase has its own value of."""
    own = {name: value for name in OWN if (value := getattr(phase, name)) is not None}
    if phase.epochs is not None and phase.steps is None:
        own["steps"] = None
    return config.model_copy(update=own)


@contextmanager
def moving(method: Trained, phase: Phase) -> Iterator[None]:
    """Only what the phase trains requires a gradient inside; SpecError where that is nothing."""
    able = {name: weight for name, weight in method.named_parameters() if weight.requires_grad}
    still = {name: weight for name, weight in able.items() if not name.startswith(phase.weights)}
    if len(still) == len(able):
        raise SpecError(
            f"phase '{phase.name}' of {type(method).__name__} has no weight to train: the method lets "
            f"{', '.join(able) or 'none'} be trained, the phase names {', '.join(map(repr, phase.weights)) or 'none'}",
            where="recommender.method",
            fix="a method without weights needs no 'training'; else look at requires_grad and Phase.weights",
        )
    for weight in still.values():
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in still.values():
            weight.requires_grad_(True)
