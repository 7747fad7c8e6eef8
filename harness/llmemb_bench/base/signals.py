"""SIGTERM ends like an interrupt: half-written files are removed, a message is printed, and the exit code says so.

Python hands a signal on when the main thread is back from C, and a query of DuckDB may take hours there. So the process
ends after some seconds in any case; what is half-written then goes with the next run, as after a kill.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from llmemb_bench.base.errors import Exit

GRACE = 5.0
"""Seconds between SIGTERM and the end of a process that has not ended by itself."""

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
    ended = threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before, wakeup = signal.signal(signal.SIGTERM, _terminate), signal.set_wakeup_fd(writing)
    threading.Thread(target=_end_in_any_case, args=(reading, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(wakeup)
        os.close(writing)
        signal.signal(signal.SIGTERM, before)


def _end_in_any_case(reading: int, ended: threading.Event) -> None:
    """Reads the number of each signal when it comes, whatever the main thread does."""
    while number := os.read(reading, 1):
        if number[0] == signal.SIGTERM and not ended.wait(GRACE):
            os._exit(int(Exit.TERMINATED))
    os.close(reading)


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
