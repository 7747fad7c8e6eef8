"""What a training was chosen by and what it cost, its teacher's beside it: kept where the weights are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from llmemb_bench.training.loop import State

TRAINING = "training.json"


@dataclass(frozen=True)
class TrainingRecord:
    """One training from its first step to its end, over all processes that had a part in it."""

    monitor: str
    """The metric that chose the best epoch: `ndcg@10`."""
    protocol: str
    """The candidates of that validation: `full`."""
    validation_score: float
    """What the weights that were kept scored there."""
    best_epoch: int
    """The epoch that they are of."""
    epochs: int
    """Epochs begun."""
    steps: int
    seconds: float
    """Of training and validation, without what a kill undid: of a machine, and so in no file that must be the same
    when a run is repeated."""
    doubts: list[str]
    """What a reader of its results must know."""
    teacher: TrainingRecord | None = None
    """The training that this one could not do without."""
    others: list[TrainingRecord] = field(default_factory=list)
    """Further ones, of a method that builds on several recommenders."""

    @classmethod
    def of(
        cls, end: State, monitor: str, protocol: str, before: Sequence[TrainingRecord], doubts: list[str]
    ) -> TrainingRecord:
        """The record of a training that is over, and of those that it builds on."""
        return cls(
            monitor=monitor,
            protocol=protocol,
            validation_score=end.best_score,
            best_epoch=end.best_epoch,
            epochs=end.epoch - 1,
            steps=end.step,
            seconds=round(end.seconds, 3),
            doubts=doubts,
            teacher=before[0] if before else None,
            others=list(before[1:]),
        )

    @property
    def teachers(self) -> list[TrainingRecord]:
        """The teacher, the teacher's teacher, and so on."""
        before = [] if self.teacher is None else [self.teacher, *self.others]
        return [record for direct in before for record in (direct, *direct.teachers)]

    def without_seconds(self) -> dict[str, Any]:
        """What is the same however often the training is repeated or cut off."""
        teacher = None if self.teacher is None else self.teacher.without_seconds()
        found = asdict(replace(self, teacher=None, others=[])) | {"teacher": teacher}
        del found["seconds"], found["others"]
        return found | ({"others": [other.without_seconds() for other in self.others]} if self.others else {})

    def save(self, folder: Path) -> None:
        """Write `training.json`."""
        (folder / TRAINING).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TrainingRecord:
        """Read what `save` wrote."""
        return cls._from(json.loads((folder / TRAINING).read_text(encoding="utf-8")))

    @classmethod
    def _from(cls, found: dict[str, Any]) -> TrainingRecord:
        teacher, others = found["teacher"], [cls._from(other) for other in found.get("others", [])]
        return cls(**found | {"teacher": None if teacher is None else cls._from(teacher), "others": others})
