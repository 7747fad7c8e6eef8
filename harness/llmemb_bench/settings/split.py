"""Settings of the split: which events are training, validation and test."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from llmemb_bench.registry.config import WORDS, Config


def _written(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _of_the_calendar(day: str) -> str:
    try:
        date.fromisoformat(day)
    except ValueError as error:
        raise ValueError("should be a day of the calendar") from error
    return day


Day = Annotated[
    str,
    Field(pattern=r"^\d{4}-\d{2}-\d{2}$", json_schema_extra={WORDS: "day as 2014-07-23"}),
    BeforeValidator(_written),
    AfterValidator(_of_the_calendar),
]
"""A date as 2014-07-23; YAML reads it with or without quotes."""
Share = Annotated[float, Field(gt=0, lt=0.5)]


class SplitConfig(Config):
    """Which events train, validate and test. A user's target in validation, and in test, is the first event there."""

    by: Literal["last_two", "time", "file"] = "last_two"
    """`last_two`: each user's last event is the test target, the one before validates (paper's). `time`: one
    moment for all users ends training, another ends validation. `file`: as the dataset's files say."""
    validation_share: Share = 0.1
    """`time`: share of all events, just before the test events, that is validation (ours)."""
    test_share: Share = 0.1
    """`time`: share of all events, the latest, that is test (ours)."""
    validation_from: Day | None = None
    """`time`: validation starts on this day (UTC) instead of by share."""
    test_from: Day | None = None
    """`time`: test starts on this day (UTC) instead of by share."""

    @model_validator(mode="after")
    def _consistent(self) -> SplitConfig:
        fields = type(self).model_fields.items()
        changed = [name for name, about in fields if name != "by" and getattr(self, name) != about.default]
        if changed and self.by != "time":
            raise ValueError(f"should be 'by: time' where {', '.join(changed)} is set")
        if (self.validation_from is None) != (self.test_from is None):
            raise ValueError("should have both validation_from and test_from, or neither")
        if self.validation_from and self.test_from and self.validation_from >= self.test_from:
            raise ValueError("should have validation_from before test_from")
        return self

    @property
    def label(self) -> str:
        """How tables name it; empty for the default."""
        return "" if self.by == "last_two" else f"split by {self.by}"

    def protocol(self) -> dict[str, Any]:
        """What decides which events are which, and nothing else."""
        if self.by != "time":
            return {"by": self.by}
        if self.test_from is not None:
            return {"by": self.by, "validation_from": self.validation_from, "test_from": self.test_from}
        return {"by": self.by, "validation_share": self.validation_share, "test_share": self.test_share}
