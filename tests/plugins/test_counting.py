"""Counting baselines against sums of exact fractions: popularity decides ties, and nothing but ties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmemb_bench.contracts import Method, Parts
from llmemb_bench.evaluation.ranking import rank
from llmemb_bench.registry.entries import find
from llmemb_bench.serving.scoring import Histories, best_of
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.values.split import Split
from tests.helpers.splits import make_split

Key = tuple[Fraction, int]
ONE_OF_FIVE = Fraction(4, 5)


def counting(use: str, split: Split, **settings: object) -> Method:
    plugin = find("methods", use).load()
    method = plugin(plugin.config_type()(**settings), Parts(split.data.n_items))
    method.fit_counts(split)
    return method


def keys_of(histories: Sequence[Sequence[int]], history: Sequence[int], n_items: int, decay: Fraction) -> list[Key]:
    """(sum, popularity) of items 1..n_items, without a rounding; all but the last two events of a user train."""
    training = [events[:-2] if len(events) > 2 else events for events in histories]
    popularity = Counter(item for events in training for item in events)
    pairs: Counter[tuple[int, int]] = Counter()
    for events in training:
        for place, item in enumerate(events):
            for other in events[max(0, place - 20) : place]:
                pairs[item, other] += item != other
                pairs[other, item] += item != other
    sums = {
        item: sum((decay**age * pairs[seen, item] for age, seen in enumerate(reversed(history))), Fraction(0))
        for item in range(1, n_items + 1)
    }
    return [(sums[item], popularity[item]) for item in range(1, n_items + 1)]


def counts(keys: list[Key], target: int, history: Sequence[int]) -> tuple[int, int]:
    others = [key for item, key in enumerate(keys, start=1) if item != target and item not in history]
    goal = keys[target - 1]
    return sum(key > goal for key in others), sum(key == goal for key in others)


def long_history(own: int, rare: int = 3, popular: int = 60) -> list[list[int]]:
    """Item 2 was paired with item 1 `rare` times; item 3 is popular and never was; one user has 1, then `own` others,
    then 2."""
    mine = [1, *range(8, 8 + own), 2]
    return [[1, 2, 4, 5]] * rare + [[3, 6, 7, 5]] * popular + [[*mine[:-1], mine[-1]]]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=12), min_size=1, max_size=12))
@example(long_history(91))  # 3 * 0.8**91 is less than popularity used to add
@example(long_history(120, rare=1, popular=200))
@example([[1, 2, 9, 9], [3, 4, 9, 9]] * 4 + [[3, 5, 9, 9], [5, 4, 1, 2, 2]])
@example([[1, 2, 9, 9]] * 4 + [[3, 4, 9, 9]] * 5 + [[4, 8, 8]] * 9 + [[3, 5, 1, 4]])  # 5 * 0.8**2 against 4 * 0.8
def test_cooccurrence_ranks_as_fractions_do(histories):
    if not any(len(events) > 2 for events in histories):
        histories = [*histories, [1, 2, 3]]
    n_items = max(max(events) for events in histories)
    split = make_split(histories, n_items)
    found, _ = rank(counting("cooccurrence", split), split, "test", Evaluate())
    for row, user in enumerate(split.users("test").tolist()):
        history, target = histories[user][:-1], histories[user][-1]
        wanted = counts(keys_of(histories, history, n_items, ONE_OF_FIVE), target, set(history) - {target})
        assert (found.n_greater[row], found.n_equal[row]) == wanted


@pytest.mark.parametrize("decay", [1.0, 0.5, 0.25, 1e-3])
@pytest.mark.parametrize("own", [1, 5, 30, 100])
def test_a_rare_pair_beats_popularity_however_small_its_weight(decay, own):
    histories = long_history(own)
    split = make_split(histories, 120)
    method = counting("cooccurrence", split, decay=decay)
    scores = method.scores(method.states(torch.tensor([histories[-1][:-1]])), slice(1, 121))[0].tolist()
    weight = 3 * decay**own
    if weight > 1e-290:
        if weight > 1e-37:  # float32 begins there
            assert scores[1] == pytest.approx(weight, rel=1e-6)
        assert scores[1] > scores[2] == scores[5] > scores[6] == scores[119]
    else:  # beyond the reach of a float64: both count as never paired
        assert scores[2] > scores[1] > scores[119]


def test_a_history_of_thousands_of_events_does_not_turn_the_order_round():
    split = make_split([*long_history(0)[:-1], [4] * 2500], 9)
    method = counting("cooccurrence", split)
    history = torch.tensor([[1] + [9] * 2500])
    scores = method.scores(method.states(history), slice(1, 10))[0]
    assert scores[1] > scores[2]


@pytest.mark.parametrize("popular", [2, 1_000, 1_000_000])
def test_equal_sums_go_by_popularity_and_equal_pairs_stay_equal(popular):
    split = make_split([[1, 2, 9, 9], [1, 3, 9, 9], [1, 4, 9, 9]], 9)
    split.popularity[[2, 3, 4, 5]] = popular, popular + 1, popular, popular + 7
    method = counting("cooccurrence", split)
    scores = method.scores(method.states(torch.tensor([[1]])), slice(1, 10))[0]
    assert scores[2] > scores[1] == scores[3] > scores[4] > scores[7]
    assert scores[1].item() == pytest.approx(1)


def test_what_is_recommended_stands_in_the_order_of_the_ranking():
    rng = np.random.default_rng(3)
    histories = [(1 + rng.choice(30, size=9, p=np.arange(30, 0, -1) / 465)).tolist() for _ in range(40)]
    split = make_split(histories, 30)
    method = counting("cooccurrence", split)
    for history in histories[:10]:
        keys = keys_of(histories, history, 30, ONE_OF_FIVE)
        whole = Histories(np.array(history, dtype=np.int32), np.array([0]), np.array([len(history)]))
        _, ids, _ = best_of(method, whole, 30, 30, mask=False)
        found = [item for item in ids[0].tolist() if item]  # id 0 is padding
        assert found == sorted(range(1, 31), key=lambda item: (-keys[item - 1][0], -keys[item - 1][1], item))


@pytest.mark.parametrize("count", [2**24, 2**24 + 1, 2**31])
def test_popularity_tells_counts_beyond_single_precision_apart(count):
    split = make_split([[1, 2, 3, 4]], 4)
    split.popularity[[1, 2, 3]] = count, count + 1, count
    method = counting("popularity", split)
    scores = method.scores(method.states(torch.tensor([[4]])), slice(1, 5))[0]
    assert scores[1] > scores[0] == scores[2]
