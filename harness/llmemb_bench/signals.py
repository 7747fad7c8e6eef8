"""SIGTERM ends like an interrupt: what is half-written is removed, a word is said, and the exit code tells."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_received: list[int] = []


class Terminated(BaseException):
    """Raised where the process was when SIGTERM came; no `except Exception` holds it up."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated on SIGTERM inside the block; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received.clear()
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise Terminated


@contextmanager
def interruptible() -> Iterator[None]:
    """DuckDB gives a signal's exception a name of its own (`RuntimeError: Query interrupted`): raise what was meant."""
    try:
        yield
    except RuntimeError as error:
        if str(error) != "Query interrupted":
            raise
        raise (Terminated() if _received else KeyboardInterrupt()) from error
