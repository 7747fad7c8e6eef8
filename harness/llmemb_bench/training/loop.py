"""The training loop: a validation ranking each epoch, the best epoch's weights kept, and a kill at any point undone."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmemb_bench import checkpoint
from llmemb_bench.contracts import Batch, Objective, VectorMethod
from llmemb_bench.errors import DataError, MissingError
from llmemb_bench.memory import is_out_of_memory
from llmemb_bench.progress import Work, say, track
from llmemb_bench.seeds import seed_for
from llmemb_bench.training.batches import TrainingBatches
from llmemb_bench.training.gradients import Value, backward
from llmemb_bench.training.monitor import ValidationScore
from llmemb_bench.training.optimizer import Optimizer
from llmemb_bench.training.settings import TrainConfig
from llmemb_bench.world import world

KEPT, EVENTS = "training.safetensors", "events.jsonl"
MOVED = 3
"""Users that a repeated validation may rank otherwise where it need not be the same to the bit: on a GPU, whose sums
are not always in one order, and in a run that went on on another machine."""
TOLD = ("objective", "auxiliary")
"""Means over steps in an event."""
ABOVE_POPULARITY = 0.05
"""A score that is not this share above that of counting popularity is a model's that has learnt little else yet."""
FAST_DECAY = 0.98
"""Adam's second beta in the original SASRec: what pushes every item down alike at the start is forgotten sooner."""
SHOWN = 5
"""Users that an error names."""


@dataclass
class State:
    """How far training is. Everything drawn at a step depends on the seed and the step alone, so nothing else is kept
    but weights and momenta."""

    epoch: int = 1
    batch: int = 0
    """Batches done of this epoch."""
    step: int = 0
    epoch_loss: float = 0.0
    """Sum over the steps of this epoch."""
    recent: dict[str, float] = field(default_factory=dict)
    """Sums since the last event."""
    curves: dict[str, float] = field(default_factory=dict)
    """What was told last about the method's auxiliary loss; `auxiliary_share` is its share of the gradient by the item
    vectors."""
    best_epoch: int = 0
    best_score: float = -1.0
    validated_since_best: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = field(default=0.0, compare=False)
    """Of training and validation, over all processes that had a part in it; what a kill undid is not in it."""


def train(
    method: VectorMethod,
    objective: Objective,
    batches: TrainingBatches,
    config: TrainConfig,
    validate: Callable[[], ValidationScore],
    seed: int,
    kept: Path | None = None,
    by_popularity: ValidationScore | None = None,
) -> State:
    """Train in place; ends with the weights of the best validated epoch, ranked again to be sure.

    A loss that is not finite is a DataError. With a folder `kept`, a killed run goes on where it was and ends with the
    same bytes. A validation that is no better than one `by_popularity` is said.
    """
    training = _Training(method, objective, batches, config, validate, seed, kept, by_popularity)
    training.resume()
    steps = config.epochs * len(batches)
    with track("train", min(steps, config.steps or steps), "steps") as work:
        work.advance(training.state.step)
        training.run(work)
    return training.state


class _Training:
    """One run: what is trained, on what, and how far it is."""

    def __init__(
        self,
        method: VectorMethod,
        objective: Objective,
        batches: TrainingBatches,
        config: TrainConfig,
        validate: Callable[[], ValidationScore],
        seed: int,
        kept: Path | None,
        by_popularity: ValidationScore | None,
    ) -> None:
        self.method, self.objective, self.batches = method, objective, batches
        self.config, self.validate, self.seed, self.kept = config, validate, seed, kept
        self.by_popularity = by_popularity
        self.device = method.mask.device
        self.optimizer = Optimizer(method, objective, config)
        self.state = State()
        self.best: dict[str, Tensor] = {}
        self.best_is_ours = True
        """Whether this process measured it."""
        self.saved = self.counted = time.monotonic()
        if config.compile:
            _refuse_no_compiler(self.device)
            method.backbone.is_compiled = True
            method.backbone.compile(dynamic=True)

    def run(self, work: Work) -> None:
        """Every step that is left, then the best weights."""
        while not self._is_over():
            self.method.train()
            for batch in self.batches.epoch(self.seed, self.state.epoch, self.state.batch):
                if self.state.step == self.config.steps:
                    break
                self._step(batch)
                work.advance(note=self._note())
            self._end_epoch()
            work.advance(0, note=self._note())
        self._restore_best()
        self._count_seconds()

    def _step(self, batch: Batch) -> None:
        state = self.state
        torch.manual_seed(seed_for(self.seed, "dropout", state.step, world().rank))
        try:
            value = backward(self.method, self.objective, batch.to(self.device), self.config, told=self._is_told())
        except (RuntimeError, MemoryError) as error:
            _explain(error)
            raise
        self.optimizer.step()
        self._count(value, batch)
        state.step, state.batch = state.step + 1, state.batch + 1
        if state.step % self.config.log_every == 0:
            self._tell(self._since_last_event())
        self._keep()

    def _is_told(self) -> bool:
        """Whether an event follows the step: every few steps, and at the end of an epoch."""
        step = self.state.step + 1
        is_last = self.state.batch + 1 == len(self.batches) or step == self.config.steps
        return is_last or step % self.config.log_every == 0

    def _count(self, value: Value, batch: Batch) -> None:
        parts = world().total(torch.stack([value.objective, value.auxiliary]).double().cpu()).tolist()
        loss = sum(parts)
        if not math.isfinite(loss):
            self._refuse(loss, batch)
        self.state.epoch_loss += loss
        for name, part in zip((*TOLD, "steps"), (*parts, 1), strict=True):
            self.state.recent[name] = self.state.recent.get(name, 0.0) + part
        self.state.curves = value.curves or self.state.curves

    def _refuse(self, loss: float, batch: Batch) -> None:
        users = self.batches.split.data.user_ids
        named = ", ".join(f"'{users[user]}'" for user in batch.users[:SHOWN].tolist())
        raise DataError(
            f"the loss is {loss} in epoch {self.state.epoch}, step {self.state.step + 1}; its {len(batch.users)} users "
            f"start with {named}",
            where="training",
            fix="set a smaller recommender.train.learning_rate, and look at the vectors of their items",
        )

    def _since_last_event(self) -> dict[str, Any]:
        recent, steps = self.state.recent, self.state.recent["steps"]
        means = {name: recent[name] / steps for name in TOLD}
        self.state.recent = {}
        loss = means["objective"] + means["auxiliary"]
        return {"epoch": self.state.epoch, "step": self.state.step, "loss": loss, **means, **self.state.curves}

    def _end_epoch(self) -> None:
        """An epoch, or what the limit of steps left of it, is over."""
        state = self.state
        event: dict[str, Any] = {"epoch": state.epoch, "step": state.step, "loss": state.epoch_loss / state.batch}
        event |= state.curves
        last = state.epoch == self.config.epochs or state.step == self.config.steps
        if state.epoch % self.config.validate_every == 0 or last:
            event["validation"] = self.validate().value
            event |= self._plateau(event["validation"])
            state.validated_since_best += 1
            if event["validation"] > state.best_score:
                state.best_epoch, state.best_score, state.validated_since_best = state.epoch, event["validation"], 0
                self.best = {name: tensor.clone() for name, tensor in self.method.state_dict().items()}
                self.best_is_ours = True
        self._tell(event)
        state.epoch, state.batch, state.epoch_loss = state.epoch + 1, 0, 0.0
        self._keep()

    def _plateau(self, score: float) -> dict[str, Any]:
        """Says that validation is not above counting popularity: sampled objectives can stay there for epochs."""
        counted = self.by_popularity
        if counted is None or score > (1 + ABOVE_POPULARITY) * counted.value:
            return {}
        way_out = "; train: {betas: [0.9, 0.98]} may help" if self.config.betas[1] > FAST_DECAY else ""
        above = "hardly" if score > counted.value else "not"
        told = f"validation {score:.4f}, {above} above counting popularity ({counted.value:.4f})"
        say(f"epoch {self.state.epoch}: {told}{way_out}")
        return {"popularity": counted.value}

    def _is_over(self) -> bool:
        state, config = self.state, self.config
        at_limit = state.step == config.steps and state.batch == 0  # validated, too
        return state.epoch > config.epochs or at_limit or state.validated_since_best >= config.patience

    def _restore_best(self) -> None:
        """Back to the best epoch's weights, and make sure that they are those which were measured."""
        self.method.load_state_dict(self.best)
        again = self.validate().value
        is_exact = self.best_is_ours and self.device.type == "cpu"
        allowed = 0.0 if is_exact else MOVED / len(self.batches.split.users("validation"))
        if abs(again - self.state.best_score) > allowed:
            raise DataError(
                f"epoch {self.state.best_epoch} was validated at {self.state.best_score}, its restored weights give "
                f"{again}",
                where="training",
                fix="this must not happen: a backbone that is random in ranking, or a defect of ours; please report it",
            )

    def _tell(self, event: dict[str, Any]) -> None:
        self.state.events.append(event)
        if self.kept is not None and world().is_first:
            with (self.kept / EVENTS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")

    def _note(self) -> str:
        state = self.state
        loss = state.epoch_loss / state.batch if state.batch else state.events[-1]["loss"]
        best = (
            f"  best {self.config.monitor.use} {state.best_score:.4f} at {state.best_epoch}" if state.best_epoch else ""
        )
        return f"epoch {state.epoch}  loss {loss:.4f}{best}"

    def _keep(self) -> None:
        # By the first process's clock, so that all agree.
        if self.kept is None or not world().agreed(time.monotonic() - self.saved >= self.config.checkpoint_seconds):
            return
        self._count_seconds()
        best = {f"best.{name}": tensor for name, tensor in self.best.items()}
        checkpoint.save(self.kept / KEPT, asdict(self.state), {**self.optimizer.tensors(), **best})
        self.saved = time.monotonic()

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.state.seconds += now - self.counted
        self.counted = now

    def resume(self) -> None:
        """Go on from what a killed run left."""
        found = checkpoint.load(self.kept / KEPT) if self.kept else None
        if found is not None:
            self.state = State(**found[0])
            self.optimizer.restore(found[1])
            self.best = {
                name: found[1][f"best.{name}"] for name in self.method.state_dict() if f"best.{name}" in found[1]
            }
            say(f"training: going on after step {self.state.step}")
        if self.kept is not None and world().is_first:  # without what was told after the last checkpoint
            lines = [json.dumps(event) + "\n" for event in self.state.events]
            (self.kept / EVENTS).write_text("".join(lines), encoding="utf-8")


def _refuse_no_compiler(device: torch.device) -> None:
    """torch.compile writes C++ for a CPU, and finds out in the middle of the first step that nobody can read it."""
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise MissingError(
            "torch.compile needs a C++ compiler",
            where="recommender.train.compile",
            fix="install g++, or leave 'compile' out",
        )


def _explain(error: Exception) -> None:
    """What a step can fail of through no fault of the method's."""
    if is_out_of_memory(error):
        raise DataError(
            "a step does not fit into memory",
            where="training",
            fix="recommender.train: {accumulate: 4, scores_mb: 32}; the gradient is the same",
        ) from error
    if type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
        raise MissingError(
            f"torch.compile failed: {str(error).strip().splitlines()[0]}",
            where="recommender.train.compile",
            fix="install a C++ compiler that works, or leave 'compile' out",
        ) from error
