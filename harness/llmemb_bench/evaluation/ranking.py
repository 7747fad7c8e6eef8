"""Where each target stands among its candidates: two counts per user, exact, in bounded memory.

Counts of scores above and equal to the target's say everything that a rank metric of one target needs.
Scores are made for a block of users at a time; no users x items matrix, no sort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from llmemb_bench.base import progress
from llmemb_bench.base.errors import DataError
from llmemb_bench.base.ids import PAD
from llmemb_bench.base.memory import is_out_of_memory
from llmemb_bench.base.progress import track
from llmemb_bench.contracts import Method
from llmemb_bench.processes.world import world
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.values.padding import SeenItems, pad_right
from llmemb_bench.values.split import Fold, Split

USERS_PER_BATCH, SMALLEST_BATCH = 256, 16
"""Users whose states are computed together, fewer where a catalogue is large (a counting method's state is as wide).
What is computed together may decide a last bit, so this is no setting and never shrinks."""
ITEMS_PER_BATCH = 1 << 27
ITEMS_PER_PRODUCT = 1 << 20
LARGEST_COUNT = 1 << 24
"""Up to which float32 counts without a gap."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """One row per evaluated user, in the order of `Split.users`."""

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
    fold: Fold,
    settings: Evaluate,
    sampled: Sequence[NDArray[np.int32]] = (),
    items_per_product: int = ITEMS_PER_PRODUCT,
) -> tuple[Ranks, list[Ranks]]:
    """Full ranking of every evaluated user, and beside it one for each set of `sampled` candidates [users, count].

    With `history: mask`, items of the history leave the full ranking; the target never does. Out of memory halves the
    users scored at once. Several processes rank some of the users each. Raises DataError if a score is not finite.
    """
    n_users, masked = len(split.users(fold)), settings.history == "mask"
    counts = np.zeros((1 + len(sampled), 2, n_users), dtype=np.int64)
    ranking = _Ranking(method, split, fold, masked, sampled, items_per_product, counts)
    training = method.training
    method.eval()
    method.begin_ranking()
    block = max(1, int(settings.scores_mb * 2**20 / (4 * (split.data.n_items + 1))))
    with track(f"rank {fold}", n_users, "users") as work:
        for rows in world().own(_batches(split, fold)):
            states = ranking.states(rows)
            done = 0
            while done < len(rows):
                part = slice(done, done + block)
                try:
                    ranking.count(rows[part], states[part])
                except (RuntimeError, MemoryError) as error:
                    if block == 1 or not is_out_of_memory(error):
                        raise
                    block = max(1, min(block, len(rows)) // 2)
                    progress.alert(f"out of memory: {block} users scored at once from now on (no rank depends on it)")
                else:
                    done += block
            work.advance(len(rows))
    method.train(training)
    counts = world().total(torch.from_numpy(counts)).numpy()
    full = Ranks(counts[0, 0], counts[0, 1], _n_candidates(split, fold, masked))
    return full, [
        Ranks(found[0], found[1], np.full(n_users, candidates.shape[1] + 1))
        for found, candidates in zip(counts[1:], sampled, strict=True)
    ]


def _batches(split: Split, fold: Fold) -> list[NDArray[np.int64]]:
    """Rows of evaluated users, those with histories of similar length together: little padding."""
    size = min(USERS_PER_BATCH, max(SMALLEST_BATCH, ITEMS_PER_BATCH // split.data.n_items))
    order = np.argsort(split.input_lengths(fold), kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


@dataclass(frozen=True)
class _Ranking:
    """One ranking under way."""

    method: Method
    split: Split
    fold: Fold
    masked: bool
    sampled: Sequence[NDArray[np.int32]]
    items_per_product: int
    counts: NDArray[np.int64]
    """[protocols, 2, users] greater and equal; the full ranking first."""

    def states(self, rows: NDArray[np.int64]) -> Float[Tensor, "users width"]:
        """One state per user."""
        histories = _histories(self.split, self.fold, rows, self.method.max_len)
        return self.method.states(histories.to(self.method.device))

    def count(self, rows: NDArray[np.int64], states: Float[Tensor, "users width"]) -> None:
        """Score the whole catalogue for some users, and count."""
        scores = self._scores(states)
        targets = torch.from_numpy(self.split.targets(self.fold)[rows].astype(np.int64)).to(scores.device)[:, None]
        _refuse_infinite(scores, self.split, self.split.users(self.fold)[rows])
        target_scores = scores.gather(1, targets - 1)  # [users, 1]
        for number, candidates in enumerate(self.sampled, start=1):
            among = torch.from_numpy(candidates[rows].astype(np.int64)).to(scores.device)
            self.counts[number, :, rows] = _counts(scores.gather(1, among - 1), target_scores)
        scores.scatter_(1, targets - 1, -torch.inf)
        if self.masked:
            histories = _histories(self.split, self.fold, rows, None).to(scores.device)
            gone = torch.where(histories == PAD, targets, histories)  # the target is gone already
            scores.scatter_(1, gone - 1, -torch.inf)
        self.counts[0, :, rows] = _counts(scores, target_scores)

    def _scores(self, states: Float[Tensor, "users width"]) -> Float[Tensor, "users items"]:
        """Scores of the catalogue, item 1 first; padding has no column and so never counts."""
        n_items = self.split.data.n_items
        starts = range(1, n_items + 1, self.items_per_product)
        blocks = [
            self.method.scores(states, slice(first, min(first + self.items_per_product, n_items + 1)))
            for first in starts
        ]
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)


def _counts(scores: Float[Tensor, "users candidates"], target_scores: Float[Tensor, "users 1"]) -> NDArray[np.int64]:
    """[users, 2] scores above and equal to the goal."""
    counts = np.zeros((len(scores), 2), dtype=np.int64)
    # Ones and zeros as floats: torch sums booleans by first writing them all out as integers.
    for part in torch.split(scores, LARGEST_COUNT, 1):
        hit = torch.empty_like(part, dtype=torch.float32)
        for column, compare in enumerate((torch.gt, torch.eq)):
            counts[:, column] += compare(part, target_scores, out=hit).sum(1).long().cpu().numpy()
    return counts


def _histories(split: Split, fold: Fold, rows: NDArray[np.int64], longest: int | None) -> Int[Tensor, "users len"]:
    lengths = split.input_lengths(fold)[rows]
    kept = lengths if longest is None else np.minimum(lengths, longest)
    starts = split.data.offsets[split.users(fold)[rows]] + lengths - kept
    return torch.from_numpy(pad_right(split.data.items, starts, kept))


def _refuse_infinite(scores: Float[Tensor, "users items"], split: Split, users: NDArray[np.int64]) -> None:
    if torch.isfinite(scores.sum()):
        return  # one pass; a sum of finite scores that overflows is told apart below
    bad = (~torch.isfinite(scores)).nonzero()
    if len(bad):
        row, item = bad[0].tolist()
        user = split.data.user_ids[users[row]]
        raise DataError(
            f"the score of user '{user}' for item '{split.data.catalogue.ids[item]}' is not a finite number",
            where="ranking",
            fix="train with a smaller recommender.train.learning_rate, and look at the item's vector",
        )


def rank_by_counts(
    counts: NDArray[np.int64],
    split: Split,
    fold: Fold,
    settings: Evaluate,
    sampled: Sequence[NDArray[np.int32]] = (),
) -> Ranks:
    """The ranking of a score that is the same for every user, `counts` [ids], without any user's scores: the full one,
    or that among the first of `sampled`."""
    targets = split.targets(fold).astype(np.int64)
    target_scores = counts[targets]
    if sampled:
        among = counts[sampled[0]]
        greater, equal = ((compare(among, target_scores[:, None])).sum(1) for compare in (np.greater, np.equal))
        return Ranks(greater, equal, np.full(len(targets), among.shape[1] + 1))
    ordered, masked = np.sort(counts[1:]), settings.history == "mask"
    below, up_to = (np.searchsorted(ordered, target_scores, side) for side in ("left", "right"))
    greater, equal = len(ordered) - up_to, up_to - below - 1
    if masked:
        rows, items = _seen_pairs(split, fold)
        others = items != targets[rows]
        rows, seen = rows[others], counts[items[others]]
        greater = greater - np.bincount(rows[seen > target_scores[rows]], minlength=len(targets))
        equal = equal - np.bincount(rows[seen == target_scores[rows]], minlength=len(targets))
    return Ranks(greater, equal, _n_candidates(split, fold, masked))


def _seen_pairs(split: Split, fold: Fold) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row of an evaluated user and item, once for each distinct item of the history."""
    users, lengths = split.users(fold), split.input_lengths(fold)
    rows = np.repeat(np.arange(len(users)), lengths)
    positions = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    width = split.data.n_items + 1
    keys = np.unique(rows * width + split.data.items[split.data.offsets[users[rows]] + positions])
    return keys // width, keys % width


def _n_candidates(split: Split, fold: Fold, mask_history: bool) -> NDArray[np.int64]:
    """Items minus the distinct ones of the history; a target that is in the history stays a candidate."""
    data, users = split.data, split.users(fold)
    if not mask_history or len(users) == 0:
        return np.full(len(users), data.n_items)
    n_inputs = np.zeros(data.n_users, dtype=np.int64)
    n_inputs[users] = split.input_lengths(fold)
    inputs = split.positions < np.repeat(n_inputs, split.lengths)
    seen = SeenItems(np.repeat(np.arange(data.n_users), split.lengths)[inputs], data.items[inputs], data.n_items)
    repeated = seen.holds(users, split.targets(fold).astype(np.int64))
    return data.n_items - seen.per_user(data.n_users)[users] + repeated
