"""Scores of whole histories and the best of them, in blocks of users: bounded memory, exact order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from llmemb_bench.base.errors import DataError
from llmemb_bench.contracts import Method
from llmemb_bench.values.padding import pad_right

SCORES_IN_MEMORY = 1 << 24  # 64 MiB of float32 at a time, and twice that while the best are chosen
USERS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Histories:
    """Slices of a flat array of item ids."""

    items: NDArray[np.int32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def padded(self, longest: int | None = None) -> Int[Tensor, "users len"]:
        """Real items first, then PAD; of a history longer than `longest` the latest events."""
        kept = self.lengths if longest is None else np.minimum(self.lengths, longest)
        return torch.from_numpy(pad_right(self.items, self.starts + self.lengths - kept, kept))


def scores_at_once(n_items: int) -> int:
    """Users in a block."""
    return max(1, min(USERS_AT_ONCE, SCORES_IN_MEMORY // (n_items + 1)))


def states_of(method: Method, histories: Histories) -> Float[Tensor, "users width"]:
    """One state per history. `begin_ranking` comes first."""
    return method.states(histories.padded(method.max_len).to(method.device))


def score(method: Method, states: Tensor, n_items: int) -> Float[Tensor, "users ids"]:
    """Scores by item id, that of padding (id 0) minus infinity; DataError where one is not a finite number.

    `begin_ranking` comes first.
    """
    scores = method.scores(states, slice(1, n_items + 1))
    if not torch.isfinite(scores.sum()) and not torch.isfinite(scores).all():
        raise DataError(
            "some scores are not finite numbers",
            where="ranking",
            fix="train with a smaller recommender.train.learning_rate; a method that scores by its teacher's vectors "
            "must keep them among its weights",
        )
    return torch.cat([scores.new_full((len(scores), 1), -torch.inf), scores], dim=1)


def without_history(scores: Float[Tensor, "users ids"], histories: Histories) -> None:
    """Give the items of each history, the whole of it, minus infinity."""
    scores.scatter_(1, histories.padded().to(scores.device), -torch.inf)


def best(scores: Float[Tensor, "users ids"], count: int) -> tuple[Int[Tensor, "users k"], Float[Tensor, "users k"]]:
    """Ids and scores of the best `count`, best first; of equal scores the smaller id first, at the cut too."""
    count = min(count, scores.shape[1])
    bound = scores.topk(count, dim=1).values[:, -1:]
    chosen = scores > bound
    room = count - chosen.sum(1, keepdim=True)  # [users, 1]
    equal = scores == bound
    crowded = (equal.sum(1, keepdim=True) > room).squeeze(1)
    equal[crowded] &= equal[crowded].cumsum(1, dtype=torch.int32) <= room[crowded]
    ids = (chosen | equal).nonzero()[:, 1].view(len(scores), count)  # by id in each row
    values, order = scores.gather(1, ids).sort(dim=1, descending=True, stable=True)
    return ids.gather(1, order), values


@torch.no_grad()
def best_of(
    method: Method, histories: Histories, n_items: int, count: int, *, mask: bool
) -> tuple[Tensor, Int[Tensor, "users k"], Float[Tensor, "users k"]]:
    """States of a block of histories, and ids and scores of their best items; an id that is left out has a score of
    minus infinity. `begin_ranking` comes first."""
    states = states_of(method, histories)
    scores = score(method, states, n_items)
    if mask:
        without_history(scores, histories)
    ids, values = best(scores, count)
    return states.cpu(), ids.cpu(), values.cpu()
