"""How a machine reports that it is out of memory, and how to foresee it."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

from llmemb_bench.base.errors import DataError

TORCH_SAYS = ("can't allocate memory", "Storage size calculation overflowed", "integer multiplication overflow")
"""torch has no exception type for a CPU that is out of memory, nor for a size beyond 64 bits."""
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether smaller pieces may help."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in TORCH_SAYS)


def memory() -> int:
    """Bytes that this machine has, or that its container may use; those of its GPUs where they have more."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in map(Path, CGROUPS):
        words = limit.read_text().strip() if limit.is_file() else ""
        if words.isdigit():
            sizes.append(int(words))
    torch: Any = sys.modules.get("torch")  # whoever computes has it; the others shall not import it
    gpus = range(torch.cuda.device_count()) if torch is not None else ()
    on_gpus = [int(torch.cuda.get_device_properties(gpu).total_memory) for gpu in gpus]
    return max(min(sizes), sum(on_gpus))


def require(size: int | float, what: str, setting: str, fix: str = "") -> None:
    """A DataError for what cannot fit, before it is allocated: `size` bytes of `what`, because of a setting (its dotted
    key); `fix` where a smaller one is not the way out."""
    if size > memory():
        needed = amount(size) if size < math.inf else "more than 64 bits can count"
        raise DataError(
            f"{what} would take {needed} of memory; this machine has {amount(memory())}",
            where=setting,
            fix=fix or f"a smaller {setting.rpartition('.')[2]}",
        )


def amount(size: int | float) -> str:
    """`1.5 GB`"""
    units = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
    power = min(int(math.log(max(size, 1), 1000)), len(units) - 1)
    number = size / 1000**power
    return f"{number:,.0f} {units[power]}" if number >= 10 or power == 0 else f"{number:.1f} {units[power]}"
