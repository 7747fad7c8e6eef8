"""Users whose training histories mean the same: nearest by cosine of the mean text vector of what they had.

Exact, in blocks of matrix products: a library for approximate search (faiss, usearch) would be one more dependency, and
up to the number of users allowed here there is nothing to gain: on two cores, at 384 dimensions, 22,000 users take
seconds and the most allowed about ten minutes, once a training.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from llmemb_bench.base.progress import track
from llmemb_bench.values.split import Split

MOST_USERS = 200_000
"""Users that are compared exactly: work grows with their square."""
ASKING, COMPARED = 1024, 1 << 14
"""Users whose cosines are in memory at once: 64 MB."""


def profiles(split: Split, text: Float[Tensor, "items text_dim"]) -> Float[Tensor, "users text_dim"]:
    """The mean text vector of each user's training events; zero of a user without any."""
    users, items = split.training_events()
    shape = (split.data.n_users, len(text))
    counts = sparse.csr_array((np.ones(len(items), dtype=np.float32), (users, items - 1)), shape=shape)
    sums = torch.from_numpy(np.asarray(counts @ text.cpu().numpy()))
    return sums / torch.from_numpy(np.maximum(split.n_train, 1)[:, None].astype(np.float32))


def nearest(vectors: Float[Tensor, "users dim"], count: int) -> Int[Tensor, "users count"]:
    """The `count` other rows of the largest cosine with each row, the nearest first; more rows than `count`."""
    units, found = functional.normalize(vectors, dim=1), []
    with track("similar users", len(units), "users") as work:
        for start in range(0, len(units), ASKING):
            found.append(_nearest(units, start, count))
            work.advance(len(found[-1]))
    return torch.cat(found)


def _nearest(units: Float[Tensor, "users dim"], first: int, count: int) -> Int[Tensor, "asking count"]:
    asking = units[first : first + ASKING]
    rows = torch.arange(first, first + len(asking), device=units.device)
    best = asking.new_empty(len(asking), 0)
    who = rows.new_empty(len(asking), 0)
    for start in range(0, len(units), COMPARED):
        block = torch.arange(start, min(start + COMPARED, len(units)), device=units.device)
        cosines = (asking @ units[block].T).masked_fill(rows[:, None] == block, -torch.inf)
        near = cosines.topk(min(count, len(block)), dim=1)
        best, who = torch.cat([best, near.values], dim=1), torch.cat([who, block[near.indices]], dim=1)
        best, kept = best.topk(min(count, best.shape[1]), dim=1)
        who = who.gather(1, kept)
    return who
