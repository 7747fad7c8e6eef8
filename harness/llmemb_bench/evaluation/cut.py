"""Where head ends and tail begins, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HeadCut:
    """Where the catalogue is cut into head and tail."""

    n_items: int
    n_head: int
    least_events: int | None
    """Fewest events of a head item; None where no item is head."""
    n_tied: int
    """Tail items with as many events as that: their ids alone made them tail."""

    def __str__(self) -> str:
        if self.least_events is None:
            return f"none of {self.n_items:,} items"
        events = f"{self.least_events:,} events or more"
        tied = f"; {self.n_tied:,} more with {self.least_events:,} are tail by their ids alone" if self.n_tied else ""
        return f"{self.n_head:,} of {self.n_items:,} items ({self.n_head / self.n_items:.1%}), {events}{tied}"
