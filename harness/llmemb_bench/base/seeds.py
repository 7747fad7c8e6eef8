"""Randomness is an argument: every draw has a seed derived from a base and the facts it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def seed_for(base: int, *facts: str | int) -> int:
    """A 63-bit seed from a hash, so that adding a plugin never changes another's draw."""
    digest = hashlib.sha256(json.dumps([base, *facts]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(base: int, *facts: str | int) -> np.random.Generator:
    """A NumPy generator for `seed_for(base, *facts)`."""
    import numpy as np

    return np.random.default_rng(seed_for(base, *facts))


@contextmanager
def torch_seed(base: int, *facts: str | int) -> Iterator[None]:
    """Seed torch's global generator inside the block and put back its state after.

    Initialisation and dropout of torch modules know no other generator.
    """
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed_for(base, *facts))
        yield
