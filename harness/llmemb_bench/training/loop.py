"""The training loop: a validation ranking each epoch, the best epoch's weights kept, and a kill at any point undone."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmemb_bench.base.errors import DataError, MissingError
from llmemb_bench.base.memory import is_out_of_memory
from llmemb_bench.base.progress import Work, say, track
from llmemb_bench.base.seeds import seed_for
from llmemb_bench.contracts import Batch, Batches, Objective, Phase, Trained, VectorMethod
from llmemb_bench.processes.checkpoint import Resumable
from llmemb_bench.processes.world import world
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.training.batches import TrainingBatches
from llmemb_bench.training.gradients import Value, backward, backward_of
from llmemb_bench.training.monitor import ValidationScore
from llmemb_bench.training.optimizer import Optimizer
from llmemb_bench.training.phases import configured, moving, phases_of

STATE_FILE, EVENTS = "training.safetensors", "events.jsonl"
MOVED = 3
"""Users that a repeated validation may rank otherwise where it need not be the same to the bit: on a GPU, whose sums
are not always in one order, and in a run that went on on another machine."""
TOLD = ("objective", "auxiliary")
"""Means over steps in an event."""
ABOVE_POPULARITY = 0.05
"""A score that is not this share above that of counting popularity is a model's that has learnt little else yet."""
FAST_DECAY = 0.98
"""Adam's second beta in the original SASRec: what pushes every item down equally at the start is forgotten sooner."""
SLACK = 1e-3
"""What a phase's own measure may move by there, as a share of itself."""
SHOWN = 5
"""Users that an error names."""


@dataclass
class State:
    """How far training is. Everything drawn at a step depends on the seed and the step alone, so nothing else is kept
    but weights and momenta."""

    phase: int = 0
    """Phases done."""
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

    def of_next_phase(self) -> State:
        """Where the phase after this one begins."""
        return State(phase=self.phase + 1, events=self.events, seconds=self.seconds)


def train(
    method: Trained,
    objective: Objective,
    batches: TrainingBatches | None,
    config: TrainConfig,
    validate: Callable[[], ValidationScore],
    seed: int,
    unfinished: Path | None = None,
    by_popularity: ValidationScore | None = None,
) -> State:
    """Train in place, phase by phase; each ends with the weights of its best validated epoch, ranked again to be sure.
    Returns how the last one ended, with the events and seconds of all.

    `batches` of the training histories are for phases that bring none. A loss that is not finite is a DataError. With a
    folder `unfinished`, a killed run resumes where it was and ends with the same bytes. A validation score no better
    than that of ranking `by_popularity` is reported.
    """
    phases = phases_of(method)
    run = _Run(method, objective, validate, seed, unfinished, by_popularity, len(phases))
    resumable = Resumable(unfinished and unfinished / STATE_FILE, config.checkpoint_seconds)
    found = resumable.resume()
    state, tensors = (State(**found[0]), found[1]) if found else (State(), None)
    run.write_events(state)
    for phase in phases[state.phase :]:
        with moving(method, phase):
            own = configured(phase, config)
            training = _Training(run, phase, own, _source(phase, batches, own), resumable, state)
            training.begin(tensors)
            training.run()
        state, tensors = training.state.of_next_phase(), None
        resumable.best = {}
    return training.state


def _gradient_of(run: _Run, phase: Phase, config: TrainConfig) -> Callable[..., Value]:
    """What adds the gradient of a batch to the weights; `with_curves`: whether an event follows."""
    if phase.loss is not None:
        return partial(backward_of, phase.loss)
    if not isinstance(run.method, VectorMethod):
        raise TypeError(f"phase '{phase.name}' has no loss: only a VectorMethod's training histories have one")
    return partial(backward, run.method, run.objective, config=config)


def _source(phase: Phase, batches: TrainingBatches | None, config: TrainConfig) -> Batches:
    if phase.batches is not None:
        return phase.batches
    if batches is None:
        raise TypeError(f"phase '{phase.name}' brings no batches, and a method without a backbone has no others")
    return batches.of(phase, config)


@dataclass(frozen=True)
class _Run:
    """What the phases of a training have in common."""

    method: Trained
    objective: Objective
    validate: Callable[[], ValidationScore]
    seed: int
    unfinished: Path | None
    by_popularity: ValidationScore | None
    n_phases: int

    def write_events(self, state: State) -> None:
        """Without what was told after the last checkpoint."""
        if self.unfinished is not None and world().is_first:
            lines = [json.dumps(event) + "\n" for event in state.events]
            (self.unfinished / EVENTS).write_text("".join(lines), encoding="utf-8")

    def write_event(self, event: dict[str, Any]) -> None:
        """One more."""
        if self.unfinished is not None and world().is_first:
            with (self.unfinished / EVENTS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")


class _Training:
    """One phase: what is trained, on what, and how far it is."""

    def __init__(
        self, run: _Run, phase: Phase, config: TrainConfig, batches: Batches, resumable: Resumable, state: State
    ) -> None:
        self.whole, self.phase, self.config, self.batches = run, phase, config, batches
        self.method, self.resumable, self.state = run.method, resumable, state
        # The first phase draws as a training without phases does.
        self.seed = seed_for(run.seed, "phase", phase.name) if state.phase else run.seed
        self.device = self.method.device
        self.optimizer = Optimizer(self.method, run.objective if phase.loss is None else None, config)
        self.backward = _gradient_of(run, phase, config)
        self.best_is_ours = True
        """Whether this process measured the best weights."""
        self.counted = time.monotonic()
        if config.compile and isinstance(self.method, VectorMethod) and not self.method.backbone.is_compiled:
            _refuse_no_compiler(self.device)
            self.method.backbone.is_compiled = True
            self.method.backbone.compile(dynamic=True)

    def begin(self, tensors: Mapping[str, Tensor] | None) -> None:
        """From the weights as they are, or from what a killed run left."""
        if tensors is None:
            self._call(self.phase.begin)
            return
        self.optimizer.restore(tensors)
        self.best_is_ours = False
        say(f"training: resuming after step {self.state.step}")

    def run(self) -> None:
        """Every step that is left, then the best weights."""
        steps = self.config.epochs * len(self.batches)
        with track(self.phase.name, min(steps, self.config.steps or steps), "steps") as work:
            work.advance(self.state.step)
            for batch in self._left(work):
                self._step(batch)
                work.advance(note=self._note())
        self._restore_best()
        self._count_seconds()

    def _left(self, work: Work) -> Iterator[object]:
        """Every batch that is left; between them what an epoch begins and ends with."""
        state = self.state
        while not self._is_over():
            if state.batch == 0 and self.phase.begin_epoch is not None:
                self._call(partial(self.phase.begin_epoch, state.epoch))
            self.method.train()
            for batch in self.batches.epoch(self.seed, state.epoch, state.batch):
                if state.step == self.config.steps:
                    break
                yield batch
            self._end_epoch()
            work.advance(0, note=self._note())

    @torch.no_grad()
    def _call(self, hook: Callable[[], None] | None) -> None:
        if hook is not None:
            torch.manual_seed(seed_for(self.seed, "hook", self.state.epoch))
            self.method.eval()
            hook()

    def _step(self, batch: object) -> None:
        state = self.state
        torch.manual_seed(seed_for(self.seed, "dropout", state.step, world().rank))
        try:
            value = self.backward(
                batch.to(self.device) if isinstance(batch, Batch) else batch, with_curves=self._is_logged()
            )
        except (RuntimeError, MemoryError) as error:
            _explain(error)
            raise
        self.optimizer.step()
        self._count(value, batch)
        state.step, state.batch = state.step + 1, state.batch + 1
        if state.step % self.config.log_every == 0:
            self._tell(self._since_last_event())
        self._keep()

    def _is_logged(self) -> bool:
        """Whether an event follows the step: every few steps, and at the end of an epoch."""
        step = self.state.step + 1
        is_last = self.state.batch + 1 == len(self.batches) or step == self.config.steps
        return is_last or step % self.config.log_every == 0

    def _count(self, value: Value, batch: object) -> None:
        parts = world().total(torch.stack([value.objective, value.auxiliary]).double().cpu()).tolist()
        loss = sum(parts)
        if not math.isfinite(loss):
            self._refuse(loss, batch)
        self.state.epoch_loss += loss
        for name, part in zip((*TOLD, "steps"), (*parts, 1), strict=True):
            self.state.recent[name] = self.state.recent.get(name, 0.0) + part
        self.state.curves = value.curves or self.state.curves

    def _refuse(self, loss: float, batch: object) -> None:
        named = ""
        if isinstance(batch, Batch) and isinstance(self.batches, TrainingBatches):
            users = self.batches.split.data.user_ids
            first = ", ".join(f"'{users[user]}'" for user in batch.users[:SHOWN].tolist())
            named = f"; its {len(batch.users)} users start with {first}"
        raise DataError(
            f"the loss is {loss} in epoch {self.state.epoch}, step {self.state.step + 1}{named}",
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
        if last or (self.phase.early_stopping and state.epoch % self.config.validate_every == 0):
            event["validation"] = self._validated()
            event |= self._plateau(event["validation"])
            state.validated_since_best += 1
            if event["validation"] > state.best_score or not state.best_epoch:
                state.best_epoch, state.best_score, state.validated_since_best = state.epoch, event["validation"], 0
                self.resumable.remember(self.method.state_dict())
                self.best_is_ours = True
        self._tell(event)
        state.epoch, state.batch, state.epoch_loss = state.epoch + 1, 0, 0.0
        self._keep()

    def _validated(self) -> float:
        """What the phase measures, or the validation ranking."""
        if self.phase.monitor is None:
            return self.whole.validate().value
        self.method.eval()
        with torch.no_grad():
            return float(self.phase.monitor())

    def _plateau(self, score: float) -> dict[str, Any]:
        """Says that validation is not above counting popularity: sampled objectives can stay there for epochs."""
        counted = self.whole.by_popularity
        if counted is None or self.phase.monitor is not None or score > (1 + ABOVE_POPULARITY) * counted.value:
            return {}
        fix = "; train: {betas: [0.9, 0.98]} may help" if self.config.betas[1] > FAST_DECAY else ""
        above = "hardly" if score > counted.value else "not"
        finding = f"validation {score:.4f}, {above} above counting popularity ({counted.value:.4f})"
        say(f"epoch {self.state.epoch}: {finding}{fix}")
        return {"popularity": counted.value}

    def _is_over(self) -> bool:
        state, config = self.state, self.config
        at_limit = state.step == config.steps and state.batch == 0  # validated, too
        return state.epoch > config.epochs or at_limit or state.validated_since_best >= config.patience

    def _restore_best(self) -> None:
        """Back to the best epoch's weights, and make sure that they are those which were measured."""
        self.method.load_state_dict(self.resumable.best)
        again = self._validated()
        is_exact = self.best_is_ours and self.device.type == "cpu"
        allowed = 0.0 if is_exact else self._tolerance()
        if abs(again - self.state.best_score) > allowed:
            raise DataError(
                f"epoch {self.state.best_epoch} was validated at {self.state.best_score}, its restored weights give "
                f"{again}",
                where="training",
                fix="this must not happen: a backbone that is random in ranking, or a defect of ours; please report it",
            )

    def _tolerance(self) -> float:
        """What a validation that is repeated elsewhere may differ by."""
        if self.phase.monitor is not None or not isinstance(self.batches, TrainingBatches):
            return SLACK * max(abs(self.state.best_score), 1.0)
        return MOVED / len(self.batches.split.users("validation"))

    def _tell(self, event: dict[str, Any]) -> None:
        if self.whole.n_phases > 1:
            event = {"phase": self.phase.name, **event}
        self.state.events.append(event)
        self.whole.write_event(event)

    def _note(self) -> str:
        state = self.state
        loss = state.epoch_loss / state.batch if state.batch else state.events[-1]["loss"]
        best = (
            f"  best {self.config.monitor.use} {state.best_score:.4f} at {state.best_epoch}" if state.best_epoch else ""
        )
        return f"epoch {state.epoch}  loss {loss:.4f}{best}"

    def _keep(self) -> None:
        if self.resumable.is_due():
            self._count_seconds()
            self.resumable.keep(asdict(self.state), self.optimizer.tensors())

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.state.seconds += now - self.counted
        self.counted = now


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
