"""One number of a report, with what must be known to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Labels = tuple[str, ...]
HIDDEN = ("data", "protocol_hash", "series", "settings", "folders")
"""Fields that are in no report."""


@dataclass(frozen=True)
class Row:
    """One number of a report."""

    experiment: str
    dataset: str
    encoder: str
    method: str
    backbone: str
    data: str
    """Hash of the prepared data: two datasets of one name never meet in a table."""
    split: str
    """How training, validation and test were cut, if not by each user's last two events."""
    protocol_hash: str
    warnings: list[str]
    """What a reader must know before believing the number."""
    protocol: str
    bucket: str
    metric: str
    mean: float | None
    """None where the bucket is empty."""
    std: float | None
    """Sample standard deviation over seeds; None for a single one."""
    seeds: list[int]
    n_users: int
    n_items: int
    """Of the catalogue."""
    head_items: int
    head_least_events: int | None
    """Fewest events of a head item; None where no item is head."""
    head_tied: int
    """Tail items with as many events, which are tail by their ids alone."""
    monitor: str | None
    """What validation measured, `ndcg@10 (full)`; None where nothing was trained, here and in what follows."""
    validation: float | None
    """Mean over seeds of the score that chose each run's epoch."""
    steps: float | None
    """Of training, mean over seeds; seconds are in the store and in no report, which is the same when run again."""
    teacher_steps: float | None
    series: str
    """Hash of everything that the number comes from but the seed: only numbers of one series are averaged."""
    settings: Mapping[str, Any] = field(repr=False)
    """The resolved spec of one of them; empty where the run folder has none."""
    folders: Sequence[str] = field(default=(), repr=False)
    """The run of each seed, below the results folder."""
    n_settings: int = 1
    """Rows of this table and experiment that differ from this one in settings of the same plugins, with this one."""
    chosen: bool = True
    """Whether this one stands for them: the only one, or the one with the best validation score."""

    @property
    def table(self) -> Labels:
        """The table that it stands in."""
        return self.dataset, self.data, self.protocol, self.protocol_hash

    @property
    def labels(self) -> Labels:
        """The names of the line that it stands in."""
        return self.experiment, self.method, self.backbone, self.encoder

    @property
    def line(self) -> tuple[Labels, str, tuple[int, ...]]:
        """The line that it stands in: a metric that was measured for fewer seeds stands in one of its own."""
        return self.labels, self.series, tuple(self.seeds)

    @property
    def plugins(self) -> Labels:
        """The same without settings of stage 2: `id_only` for `id_only (learning_rate=0.01)`. Item vectors are what is
        compared, so that an encoder of other settings is another one and no search."""
        return self.experiment, *(label.partition(" (")[0] for label in (self.method, self.backbone)), self.encoder
