"""How a machine says that its memory does not suffice."""

from __future__ import annotations

import torch

CPU_SAYS = "can't allocate memory"
"""torch has no exception type for a CPU that is out of memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether smaller pieces may help."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or CPU_SAYS in str(error)
