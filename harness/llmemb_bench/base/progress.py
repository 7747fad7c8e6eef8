"""Long work shows stage, step, rate and time left: a bar on a terminal, plain lines elsewhere.

Presentation only, to stderr, and like logging a setting of the process: nothing computed depends on it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from llmemb_bench.base.terminal import console, shown

Mode = Literal["rich", "plain", "none"]
SECONDS_BETWEEN_LINES = 5.0

_mode: Mode = "none"
_console = console(err=True)


def show(mode: Mode | None) -> None:
    """Choose how progress is shown; None: a bar on a terminal, plain lines otherwise. Of several processes (accelerate)
    the first one shows it."""
    global _mode
    _mode = mode or ("rich" if _console.is_terminal else "plain")
    if os.environ.get("RANK", "0") != "0":
        _mode = "none"


def say(line: str) -> None:
    """One line about what is happening now."""
    if _mode == "rich":
        _console.print(shown(line), highlight=False)
    elif _mode == "plain":
        sys.stderr.write(shown(line) + "\n")
        sys.stderr.flush()


def alert(line: str) -> None:
    """A line that must be seen, whatever the mode."""
    if _mode == "rich":
        _console.print(shown(line), highlight=False, style="red", soft_wrap=True)
    else:
        sys.stderr.write(shown(line) + "\n")


class Work:
    """Work in progress, counted in units."""

    def __init__(self, name: str, total: int, unit: str) -> None:
        self.name, self.total, self.unit = shown(name), total, unit
        self.done, self.note = 0, ""
        self.start = time.monotonic()

    def advance(self, by: int = 1, note: str = "") -> None:
        """Count `by` more units; the note (a loss, a score) is shown after the rate."""
        self.done += by
        self.note = note or self.note

    @property
    def rate(self) -> str:
        """Units per second so far."""
        per_second = self.done / max(time.monotonic() - self.start, 1e-9)
        return f"{per_second:,.0f} {self.unit}/s" if per_second >= 10 else f"{per_second:.1f} {self.unit}/s"


class _PlainWork(Work):
    """Prints a line every few seconds."""

    def __init__(self, name: str, total: int, unit: str) -> None:
        super().__init__(name, total, unit)
        self._last = self.start

    def advance(self, by: int = 1, note: str = "") -> None:
        super().advance(by, note)
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            left = (now - self.start) / self.done * (self.total - self.done)
            say(f"{self.name}  {self.done}/{self.total}  {self.rate}  left {left:.0f} s  {self.note}".rstrip())


class _BarWork(Work):
    """Moves a bar."""

    def __init__(self, name: str, total: int, unit: str, bars: Bars) -> None:
        super().__init__(name, total, unit)
        self._bars = bars
        self._task = bars.add_task(self.name, total=total, rate="", note="")

    def advance(self, by: int = 1, note: str = "") -> None:
        super().advance(by, note)
        self._bars.update(self._task, advance=by, rate=self.rate, note=self.note)


@contextmanager
def watch(name: str, percent: Callable[[], float]) -> Iterator[None]:
    """Show the progress of another library's work, asking every few seconds; `percent` is negative while unknown."""
    if _mode == "none":
        yield
        return
    over = threading.Event()

    def tell() -> None:
        start = time.monotonic()
        while not over.wait(SECONDS_BETWEEN_LINES):
            done = percent()
            share = f"  {done:.0f} %" if done > 0 else ""
            say(f"{name}{share}  {time.monotonic() - start:.0f} s")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


@contextmanager
def track(name: str, total: int, unit: str) -> Iterator[Work]:
    """Show a counted piece of work, for example `track("scft", 400, "step")`."""
    if _mode == "none":
        yield Work(name, total, unit)
    elif _mode == "plain":
        yield _PlainWork(name, total, unit)
    else:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Bars(*columns, console=_console, transient=True) as bars:
            yield _BarWork(name, total, unit, bars)
