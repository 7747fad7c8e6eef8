"""Simulated studies: per-user differences whose true mean is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def study(
    generator: np.random.Generator,
    n_seeds: int,
    n_users: int,
    *,
    seed: float = 0.0,
    user: float = 1.0,
    rest: float = 1.0,
    mean: float = 0.0,
) -> NDArray[np.float64]:
    """[seeds, users] of standard deviations `seed`, `user` (skewed, as users are) and `rest` around a mean."""
    of_users = generator.standard_exponential((1, n_users)) - 1
    of_seeds = generator.standard_normal((n_seeds, 1))
    return mean + seed * of_seeds + user * of_users + rest * generator.standard_normal((n_seeds, n_users))
