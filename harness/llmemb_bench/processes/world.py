"""The processes that share the work: this one alone, or those that `accelerate launch` started.

Each process holds the same data and draws the same batches; what is computed in parts is added up, so that every
process ends with the same numbers. Files are written by the first process only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import NoReturn, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
LONGEST_WAIT = timedelta(days=2)
"""One process prepares data while the others wait for it."""


@dataclass(frozen=True)
class World:
    """How many processes there are and which of them this is."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    sharded: bool = False
    """Whether a model's weights are spread over the processes (FSDP), so that each forward needs all of them."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def total(self, part: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size == 1:
            return part
        from accelerate.utils import reduce

        whole: Tensor = reduce(part.to(self.device), "sum")
        return whole.to(part.device)

    def agreed(self, answer: bool) -> bool:
        """The first process's answer."""
        return bool(self.total(torch.tensor(float(answer and self.is_first))) > 0)

    def first(self, do: Callable[[], T]) -> T:
        """Done by the first process, then by the others, which find its result in the cache."""
        if not self.is_first:
            self.agreed(False)
            return do()
        found = do()
        self.agreed(True)
        return found

    def own(self, parts: Sequence[T]) -> list[T]:
        """The parts that are this process's to do."""
        return list(parts[self.rank :: self.size])

    def even(self, parts: Sequence[T]) -> Iterator[T | None]:
        """The same number of turns in every process, None where this one has nothing left: only sharded models ask
        for that."""
        turns = len(parts)
        if self.sharded:
            counts = torch.zeros(self.size)
            counts[self.rank] = turns
            turns = int(self.total(counts).max())
        yield from parts
        for _ in range(turns - len(parts)):
            yield None


@cache
def world() -> World:
    """The world of this process; joins the others at the first call."""
    on_cpu = _is_set("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World(device="cpu" if on_cpu else "cuda")
    from accelerate import PartialState

    state = PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
    return World(state.process_index, state.num_processes, str(state.device), _is_set("ACCELERATE_USE_FSDP"))


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes")


def leave() -> None:
    """Part from the other processes when the work is done: nobody goes before all have arrived."""
    if world().size > 1:
        from accelerate import PartialState

        world().agreed(True)
        PartialState().destroy_process_group()
        world.cache_clear()


def end(code: int) -> NoReturn:
    """End one of several processes at once: torch's network threads now and then abort one that winds down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
