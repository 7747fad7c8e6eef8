"""Where each target stands among its candidates: two counts a user, exact, in bounded memory.

Counts of scores above and equal to the target's say everything that a rank metric of one target needs.
Scores are made for a block of users at a time; no users x items matrix, no sort.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from llmemb_bench.contracts import Method
from llmemb_bench.data.padding import SeenItems, pad_right
from llmemb_bench.data.split import Split, Stage
from llmemb_bench.errors import DataError
from llmemb_bench.progress import track

SCORES_IN_MEMORY = 1 << 25  # 128 MiB of float32 at a time
ITEMS_A_PRODUCT = 1 << 14


@dataclass(frozen=True, eq=False)
class Ranks:
    """One row an evaluated user, in the order of `Split.users`."""

    n_greater: NDArray[np.int64]
    """Candidates with a score above the target's."""
    n_equal: NDArray[np.int64]
    """Candidates with the target's score, without the target."""
    n_candidates: NDArray[np.int64]
    """Candidates, with the target."""


@torch.no_grad()
def rank(
    method: Method,
    split: Split,
    stage: Stage,
    *,
    mask_history: bool = True,
    sampled: NDArray[np.int32] | None = None,
    users_a_block: int | None = None,
    items_a_product: int = ITEMS_A_PRODUCT,
) -> tuple[Ranks, Ranks | None]:
    """Full ranking of every evaluated user, and the one among `sampled` candidates [users, count] beside it.

    With `mask_history`, items of the history leave the full ranking; the target never does.
    Raises DataError if a score is not finite.
    """
    n_users, n_items = len(split.users(stage)), split.data.n_items
    block = users_a_block or max(1, min(1024, SCORES_IN_MEMORY // (n_items + 1)))
    greater, equal = np.zeros((2, n_users), dtype=np.int64), np.zeros((2, n_users), dtype=np.int64)
    training = method.training
    method.eval()
    method.begin_ranking()
    with track(f"rank {stage}", n_users, "users") as work:
        for start in range(0, n_users, block):
            rows = np.arange(start, min(start + block, n_users))
            scores = _scores(method, split, stage, rows, items_a_product)
            targets = torch.from_numpy(split.targets(stage)[rows].astype(np.int64))[:, None]
            _refuse_infinite(scores, split, split.users(stage)[rows])
            goal = scores.gather(1, targets)  # [users, 1]
            if sampled is not None:
                among = scores.gather(1, torch.from_numpy(sampled[rows].astype(np.int64)))
                greater[1, rows], equal[1, rows] = _counts(among, goal)
            scores.scatter_(1, targets, -torch.inf)
            if mask_history:
                scores.scatter_(1, _histories(split, stage, rows, None), -torch.inf)
            greater[0, rows], equal[0, rows] = _counts(scores, goal)
            work.advance(len(rows))
    method.train(training)
    full = Ranks(greater[0], equal[0], _n_candidates(split, stage, mask_history))
    if sampled is None:
        return full, None
    return full, Ranks(greater[1], equal[1], np.full(n_users, sampled.shape[1] + 1))


def _counts(
    scores: Float[Tensor, "users candidates"], goal: Float[Tensor, "users 1"]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    values, bound = scores.numpy(), goal.numpy()
    return np.count_nonzero(values > bound, axis=1), np.count_nonzero(values == bound, axis=1)


def _histories(split: Split, stage: Stage, rows: NDArray[np.int64], longest: int | None) -> Int[Tensor, "users len"]:
    lengths = split.input_lengths(stage)[rows]
    kept = lengths if longest is None else np.minimum(lengths, longest)
    starts = split.data.offsets[split.users(stage)[rows]] + lengths - kept
    return torch.from_numpy(pad_right(split.data.items, starts, kept))


def _scores(
    method: Method, split: Split, stage: Stage, rows: NDArray[np.int64], items_a_product: int
) -> Float[Tensor, "users ids"]:
    """Scores by item id; padding (id 0) has minus infinity and so never counts."""
    states = method.states(_histories(split, stage, rows, method.max_len))
    n_items = split.data.n_items
    blocks = [torch.full((len(rows), 1), -torch.inf)]
    for first in range(1, n_items + 1, items_a_product):
        blocks.append(method.scores(states, slice(first, min(first + items_a_product, n_items + 1))))
    return torch.cat(blocks, dim=1)


def _refuse_infinite(scores: Float[Tensor, "users ids"], split: Split, users: NDArray[np.int64]) -> None:
    if torch.isfinite(scores[:, 1:].sum()):
        return  # one pass; a sum of finite scores that overflows is told apart below
    bad = (~torch.isfinite(scores[:, 1:])).nonzero()
    if len(bad):
        row, item = bad[0].tolist()
        user = split.data.user_ids[users[row]]
        raise DataError(
            f"the score of user '{user}' for item '{split.data.catalogue.ids[item]}' is not a finite number",
            where="ranking",
            fix="train with a smaller recommender.train.learning_rate, and look at the item's vector",
        )


def _n_candidates(split: Split, stage: Stage, mask_history: bool) -> NDArray[np.int64]:
    """Items minus the distinct ones of the history; a target that is in the history stays a candidate."""
    data, users = split.data, split.users(stage)
    if not mask_history or len(users) == 0:
        return np.full(len(users), data.n_items)
    n_inputs = np.zeros(data.n_users, dtype=np.int64)
    n_inputs[users] = split.input_lengths(stage)
    inputs = split.positions < np.repeat(n_inputs, split.lengths)
    seen = SeenItems(np.repeat(np.arange(data.n_users), split.lengths)[inputs], data.items[inputs], data.n_items)
    repeated = seen.holds(users, split.targets(stage).astype(np.int64))
    return data.n_items - seen.per_user(data.n_users)[users] + repeated
