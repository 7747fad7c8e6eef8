"""Checks of objectives and metrics."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from llmemb_bench.contracts import Metric, Negatives, Objective
from llmemb_bench.testing.case import Case, Skipped, require

# --- objectives ---

POSITIVES = torch.tensor([1, 0])
"""Of the first target row 1, of the second row 0: who takes rows in order takes the wrong ones."""
NEGATIVE, FORBIDDEN, N_ROWS = 3, 4, 5


def _negatives(objective: Objective) -> Negatives:
    """Row 3 of five, as often as the objective asks for one, for each of two targets."""
    count = objective.sampling.count
    sets = 1 if objective.sampling.shared else 2
    expected = torch.full((sets, count), max(count, 1) / N_ROWS).log()
    return Negatives(torch.full((sets, count), NEGATIVE), expected, None, n_items=N_ROWS)


def a_better_positive_lowers_it_and_a_better_negative_raises_it(case: Case[Objective]) -> None:
    objective = case.plugin(case.config)
    states, negatives = torch.eye(4)[:2], _negatives(objective)

    def value(positive: float, negative: float) -> float:
        vectors = torch.zeros(N_ROWS, 4)
        vectors[1, 0] = vectors[0, 1] = positive
        vectors[NEGATIVE, :2] = negative
        return float(objective(states, vectors, POSITIVES, negatives).detach())

    falling, rising = [value(score, 0.0) for score in (0.0, 0.5, 1.0)], [value(0.5, score) for score in (0.0, 0.5, 1.0)]
    finding = f"where positives score 0, 0.5 and 1 it is {_shown(falling)}, which should fall"
    require(
        falling[0] > falling[1] > falling[2], finding, "the sign; the positive of target t is vectors[positives[t]]"
    )
    finding = f"where negatives score 0, 0.5 and 1 it is {_shown(rising)}, which should rise"
    hint = "does it use negatives.scores(states, vectors)? is `sampling` more than 0 negatives?"
    require(rising[0] < rising[1] < rising[2], finding, hint)


def _shown(values: list[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def a_negative_that_is_not_allowed_changes_nothing(case: Case[Objective]) -> None:
    objective = case.plugin(case.config)
    count = objective.sampling.count
    if not objective.sampling.shared or objective.whole_catalogue or count < 2:
        raise Skipped("its negatives are not shared")
    rows = torch.tensor([NEGATIVE, FORBIDDEN] * count)[:count]
    allowed = (rows == NEGATIVE).expand(2, count)
    negatives = Negatives(rows[None], torch.zeros(1, count), allowed, n_items=N_ROWS)
    vectors = torch.randn(N_ROWS, 4, generator=torch.Generator().manual_seed(0))
    values = []
    for size in (1.0, -5.0):
        vectors[FORBIDDEN] *= size
        values.append(objective(torch.eye(4)[:2], vectors, POSITIVES, negatives).item())
    hint = "negatives.scores() gives minus infinity for it; take the mean over negatives.sizes()"
    require(abs(values[0] - values[1]) < 1e-5, "it depends on an item that the user has in training", hint)


def it_is_a_mean_over_targets(case: Case[Objective]) -> None:
    """The harness weighs every target equally by multiplying means by the number of their targets."""
    objective = case.plugin(case.config)
    states, vectors = torch.split(torch.randn(2 + N_ROWS, 4, generator=torch.Generator().manual_seed(0)), [2, N_ROWS])
    negatives = _negatives(objective)
    once, twice = slice(0, 2), torch.tensor([0, 1, 0, 1])
    values = [
        objective(states[taken], vectors, POSITIVES[taken], negatives.of(taken)).item() for taken in (once, twice)
    ]
    finding = f"the same targets twice give {values[1]:.4f} instead of {values[0]:.4f}"
    require(abs(values[0] - values[1]) < 1e-5, finding, "mean() over targets, not sum()")


def it_is_finite_with_finite_gradients_for_large_scores(case: Case[Objective]) -> None:
    objective = case.plugin(case.config)
    states = (50 * torch.eye(4)[:2]).requires_grad_()
    vectors = torch.randn(N_ROWS, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = objective(states, vectors, POSITIVES, _negatives(objective))
    require(value.shape == (), f"it has the shape {list(value.shape)}, should be one number", "mean() over targets")
    require(torch.isfinite(value), f"for scores around 50 it is {value.item()}", "logsigmoid, softplus, cross_entropy")
    torch.autograd.backward(value)
    for name, tensor in (("states", states), ("vectors", vectors)):
        require(tensor.grad is not None, f"{name} have no gradient", "a detach() or item() on the way")
        found = tensor.grad if tensor.grad is not None else tensor
        require(torch.isfinite(found).all(), f"{name} have an infinite gradient", "logsigmoid, softplus, cross_entropy")


OBJECTIVES = (
    a_better_positive_lowers_it_and_a_better_negative_raises_it,
    a_negative_that_is_not_allowed_changes_nothing,
    it_is_a_mean_over_targets,
    it_is_finite_with_finite_gradients_for_large_scores,
)

# --- metrics ---


def _gains(case: Case[Metric], ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    given = ranks.copy()
    gains = np.asarray(case.plugin(case.config).gain(ranks))
    found = list(gains.shape)
    require(found == list(ranks.shape), f"{len(ranks)} ranks have gains of shape {found}", "one gain per rank")
    require(np.array_equal(ranks, given), "gain() changes the ranks it is given", "operations in place: ranks -= 1")
    return gains


def every_gain_is_a_number_from_zero_to_one(case: Case[Metric]) -> None:
    for ranks in (np.arange(1, 1001), np.array([10**7, 2**40])):
        for rank, gain in zip(ranks, _gains(case, ranks), strict=True):
            hint = "ranks start at 1, so that log2(rank) is 0 there: log2(rank + 1)"
            require(0 <= gain <= 1, f"rank {rank} is worth {gain}, should be from 0 to 1", hint)


def the_first_rank_gains_one_and_none_gains_less_than_the_next(case: Case[Metric]) -> None:
    gains = _gains(case, np.arange(1, 1001))
    require(gains[0] == 1, f"rank 1 is worth {gains[0]}, should be 1", "ranks start at 1, not at 0")
    worse = np.flatnonzero(np.diff(gains) > 0)
    finding = f"rank {worse[0] + 2} is worth more than rank {worse[0] + 1}" if len(worse) else ""
    require(not len(worse), finding, "a smaller rank is better")


def the_gain_of_a_rank_does_not_depend_on_the_others(case: Case[Metric]) -> None:
    whole, order = _gains(case, np.arange(1, 101)), np.random.default_rng(0).permutation(100)
    alone = np.concatenate([_gains(case, np.array([rank])) for rank in range(1, 101)])
    finding = "the worth of a rank depends on the other ranks of the call"
    hint = "a maximum, a sum or a sort over `ranks`; the harness takes the mean over users"
    for other in (alone, _gains(case, order + 1)[np.argsort(order)]):
        require(np.allclose(whole, other, rtol=1e-12), finding, hint)


METRICS = (
    every_gain_is_a_number_from_zero_to_one,
    the_first_rank_gains_one_and_none_gains_less_than_the_next,
    the_gain_of_a_rank_does_not_depend_on_the_others,
)
