"""Scores that are float32 and keep an order that float32 cannot tell apart."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64


def rising(values: Float32[np.ndarray, "n"], ranks: Int64[np.ndarray, "n"]) -> Float32[np.ndarray, "n"]:
    """Values >= 0, ascending, moved up by as few of float32's smallest steps as make them equal where their `ranks`
    are equal and greater where those are greater."""
    steps = values.view(np.int32).astype(np.int64)  # floats >= 0 are ordered as their bits are
    moved = ranks + np.maximum.accumulate(steps - ranks)
    return moved.astype(np.int32).view(np.float32)
