"""Out of memory: the same work in smaller chunks; what a chunk holds cannot change a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from llmemb_bench.base import progress
from llmemb_bench.base.errors import DataError
from llmemb_bench.base.memory import is_out_of_memory
from llmemb_bench.processes.world import world

T = TypeVar("T")


@dataclass
class ChunkSize:
    """What goes through the encoder at once; made smaller for good where memory does not suffice."""

    tokens: int
    """Padded tokens of a chunk."""
    graphs: int = 1
    """Chunks whose graphs are in memory together."""

    def fitting(self, work: Callable[[int], T], longest: int) -> T:
        """`work(tokens)`, repeated with half as many until it fits; work must start afresh each time. `longest`: the
        longest text in tokens, below which no chunk gets smaller."""
        while True:
            try:
                return work(self.tokens)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._refuse_hopeless(error, longest)
            # Outside of the handler: the exception would keep the failed attempt's tensors alive.
            self._shrink()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            kept = f", {self.graphs} at once" if self.graphs > 1 else ""
            progress.alert(
                f"out of memory: chunks of {self.tokens:,} tokens{kept} from now on (the result is the same)"
            )

    def _shrink(self) -> None:
        if self.graphs > 1:
            self.graphs //= 2
        else:
            self.tokens = max(1, self.tokens // 2)

    def _refuse_hopeless(self, error: BaseException, longest: int) -> None:
        if world().sharded:  # the others wait for this forward pass and its like
            raise DataError(
                f"out of memory with chunks of {self.tokens:,} tokens over a sharded base",
                where="embeddings.scft",
                fix=f"chunk_tokens: {max(1, self.tokens // 2)}",
            ) from error
        if self.tokens <= longest and self.graphs == 1:
            raise DataError(
                f"one text of {longest} tokens does not fit into memory alone",
                where="embeddings",
                fix="set a smaller embeddings.encoder.max_tokens, gradient_checkpointing: true, or dtype: bfloat16",
            ) from error
