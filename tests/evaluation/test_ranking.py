"""Streaming ranks against a brute-force oracle, and the traps of ranking."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmemb_bench.base.errors import DataError
from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Method, Parts
from llmemb_bench.evaluation import ranking
from llmemb_bench.evaluation.candidates import draw_candidates
from llmemb_bench.evaluation.expectation import expected, tie_gap
from llmemb_bench.evaluation.ranking import Ranks, rank
from llmemb_bench.registry.config import Config
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.values.split import Split
from tests.helpers.plugins import plugin
from tests.helpers.splits import make_split


def memory(scores: float, history: str = "mask") -> Evaluate:
    """Settings that leave memory for so many scores."""
    return Evaluate().model_copy(update={"history": history, "scores_mb": scores * 4 / 2**20})


class TableMethod(Method):
    """Scores a history by the vector of its last item times a table: a model that an oracle can repeat."""

    config: Config

    def __init__(self, table: Tensor) -> None:
        super().__init__(Config(), Parts(n_items=len(table) - 1))
        self.table = table

    def fit_counts(self, split: Split) -> None: ...

    def states(self, histories: Tensor) -> Tensor:
        last = (histories != 0).sum(1) - 1
        return self.table[histories[torch.arange(len(histories)), last]]

    def scores(self, states: Tensor, items: slice) -> Tensor:
        return (states.double() @ self.table[items].double().T).float()


def histories_strategy(n_items: int):
    item = st.integers(1, n_items)
    return st.lists(st.lists(item, min_size=1, max_size=9), min_size=1, max_size=12).filter(
        lambda found: any(len(history) >= 3 for history in found)
    )


def oracle(split: Split, table: Tensor, *, mask: bool) -> list[tuple[int, int, int]]:
    """n_greater, n_equal, n_candidates of each evaluated user, one score at a time."""
    counted = []
    for user in split.users("test"):
        history = split.data.history(int(user))
        seen, target = set(history[:-1].tolist()), int(history[-1])
        score = (table.double() @ table[history[-2]].double()).float()
        candidates = [
            item for item in range(1, split.data.n_items + 1) if item != target and not (mask and item in seen)
        ]
        greater = sum(bool(score[item] > score[target]) for item in candidates)
        equal = sum(bool(score[item] == score[target]) for item in candidates)
        counted.append((greater, equal, len(candidates) + 1))
    return counted


def rows(ranks: Ranks) -> list[tuple[int, int, int]]:
    return list(zip(ranks.n_greater.tolist(), ranks.n_equal.tolist(), ranks.n_candidates.tolist(), strict=True))


@settings(deadline=None, max_examples=60)
@given(
    histories=histories_strategy(13),
    levels=st.integers(1, 4),
    seed=st.integers(0, 1000),
    users_per_block=st.integers(1, 14),
    items_per_product=st.integers(1, 15),
    mask=st.booleans(),
)
def test_streaming_ranks_equal_a_brute_force_oracle_for_any_block_size(
    histories, levels, seed, users_per_block, items_per_product, mask
):
    split = make_split(histories, 13)
    rng = np.random.default_rng(seed)
    table = torch.from_numpy(rng.integers(0, levels, size=(14, 3)).astype(np.float32))  # few levels: many ties
    table[0] = 1e6  # padding has the largest score of all and must not matter
    found, _ = rank(
        TableMethod(table),
        split,
        "test",
        memory(users_per_block * 14, "mask" if mask else "keep"),
        items_per_product=items_per_product,
    )
    table[0] = 0
    assert rows(found) == oracle(split, table, mask=mask)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), items_per_product=st.integers(1, 400))
def test_a_block_size_cannot_change_a_count_of_real_valued_scores(seed, items_per_product):
    rng = np.random.default_rng(seed)
    split = make_split([rng.integers(1, 301, size=6).tolist() for _ in range(40)], 300)
    table = torch.from_numpy(rng.standard_normal((301, 32)).astype(np.float32))
    table[151:] = table[1:151].clone()  # every item has a twin: ties that rounding could break
    whole, _ = rank(TableMethod(table), split, "test", Evaluate())
    blocks, _ = rank(TableMethod(table), split, "test", memory(7 * 301), (), items_per_product)
    assert rows(whole) == rows(blocks)


@settings(deadline=None, max_examples=30)
@given(histories=histories_strategy(20), cutoff=st.integers(1, 20))
def test_constant_scores_give_exactly_k_of_the_candidates(histories, cutoff):
    split = make_split(histories, 20)
    found, _ = rank(TableMethod(torch.ones(21, 2)), split, "test", Evaluate())
    np.testing.assert_array_equal(
        expected(plugin("metrics", "hr"), cutoff, found), np.minimum(cutoff, found.n_candidates) / found.n_candidates
    )


def test_sampled_ranks_count_only_the_candidates():
    split = make_split([[1, 2, 3], [3, 2, 1]], 9)
    table = torch.zeros(10, 1)
    table[:, 0] = torch.arange(10)
    candidates = np.array([[4, 5], [9, 2]], dtype=np.int32)
    _, [sampled] = rank(TableMethod(table), split, "test", Evaluate(), [candidates])
    assert rows(sampled) == [(2, 0, 3), (2, 0, 3)]


def test_a_target_in_the_history_stays_a_candidate():
    split = make_split([[1, 2, 1]], 4)
    found, _ = rank(TableMethod(torch.eye(5)), split, "test", Evaluate())
    assert rows(found) == [(0, 2, 3)]  # item 2 is masked, the repeated target 1 is not


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [3, 7, slice(1, None)], ids=["target", "other", "everywhere"])
def test_a_score_that_is_not_finite_is_an_error_that_names_user_and_item(bad, place):
    split = make_split([[1, 2, 3]], 9)
    table = torch.ones(10, 1)
    table[place] = bad
    method = TableMethod(table)
    method.states = lambda histories: torch.ones(len(histories), 1)
    with pytest.raises(DataError, match=r"user 'user0' for item 'item\d'"):
        rank(method, split, "test", Evaluate())


def test_validation_ranks_the_item_before_the_last_from_what_precedes_it():
    split = make_split([[5, 4, 3, 2]], 9)
    seen = []
    method = TableMethod(torch.ones(10, 1))
    method.states = lambda histories: (seen.append(histories.tolist()), torch.ones(len(histories), 1))[1]
    rank(method, split, "validation", Evaluate())
    rank(method, split, "test", Evaluate())
    assert seen == [[[5, 4]], [[5, 4, 3]]]
    assert split.targets("validation").tolist() == [3]
    assert split.targets("test").tolist() == [2]


def test_users_with_fewer_than_three_events_are_never_evaluated():
    split = make_split([[1], [1, 2], [1, 2, 3]], 9)
    assert split.users("test").tolist() == [2]
    assert split.popularity.tolist()[:4] == [0, 3, 1, 0]


@settings(deadline=None, max_examples=40)
@given(
    greater=st.integers(0, 30),
    equal=st.integers(0, 30),
    cutoff=st.integers(1, 25),
    name=st.sampled_from(["hr", "ndcg", "mrr"]),
)
def test_a_metric_is_its_mean_over_every_order_of_the_tied(greater, equal, cutoff, name):
    ranks = Ranks(np.array([greater]), np.array([equal]), np.array([100]))
    found = plugin("metrics", name)
    possible = np.arange(greater + 1, greater + equal + 2)
    by_hand = np.where(possible <= cutoff, found.gain(possible), 0).mean()
    assert expected(found, cutoff, ranks)[0] == pytest.approx(by_hand, rel=1e-12)
    worst_to_best = np.where(possible <= cutoff, found.gain(possible), 0)
    assert tie_gap(found, cutoff, ranks) == pytest.approx(worst_to_best[0] - worst_to_best[-1], abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(histories=histories_strategy(40), seed=st.integers(0, 100))
def test_candidates_are_distinct_and_outside_the_users_events(histories, seed):
    split = make_split(histories, 40)
    drawn = draw_candidates(split, 20, np.random.default_rng(seed))
    for row, user in enumerate(split.users("test")):
        assert len(set(drawn[row])) == 20
        assert not set(drawn[row]) & set(split.data.history(int(user)))
        assert drawn[row].min() >= 1
        assert drawn[row].max() <= 40


def test_candidates_are_uniform():
    split = make_split([[1, 2, 3]] * 4000, 13)
    drawn = draw_candidates(split, 5, np.random.default_rng(0))
    counts = np.bincount(drawn.ravel(), minlength=14)[4:]
    expectation = 4000 * 5 / 10
    # Chi-square with 9 degrees of freedom: 27.9 is the 0.1 % point.
    assert ((counts - expectation) ** 2 / expectation).sum() < 27.9


def test_ranking_twice_gives_the_same_bytes_and_leaves_the_mode():
    with torch_seed(0):
        table = torch.randn(30, 8)
    split = make_split([[1, 2, 3, 4]] * 5, 29)
    method = TableMethod(table).train()
    first, second = rank(method, split, "test", Evaluate())[0], rank(method, split, "test", Evaluate())[0]
    assert rows(first) == rows(second)
    assert method.training


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")], ids=str)
def test_out_of_memory_halves_the_users_scored_at_once_and_changes_no_rank(error, capsys):
    rng = np.random.default_rng(0)
    split = make_split([rng.integers(1, 31, size=6).tolist() for _ in range(50)], 30)
    method = TableMethod(torch.from_numpy(rng.standard_normal((31, 4)).astype(np.float32)))
    whole, _ = rank(method, split, "test", Evaluate())
    scores, sizes = method.scores, []

    def limited(states: Tensor, items: slice) -> Tensor:
        sizes.append(len(states))
        if len(states) > 7:
            raise error
        return scores(states, items)

    method.scores = limited
    halved, _ = rank(method, split, "test", Evaluate())
    assert rows(halved) == rows(whole)
    assert sizes[:5] == [50, 25, 12, 6, 6]
    assert "out of memory: 6 users scored at once from now on" in capsys.readouterr().err


@pytest.mark.parametrize(("scores", "expected"), [(70, [7, 7, 6]), (79, [7, 7, 6]), (80, [8, 8, 4]), (5, [1] * 20)])
def test_as_many_users_are_scored_at_once_as_memory_holds_and_one_at_the_least(scores, expected):
    split = make_split([[1, 2, 3]] * 20, 9)  # ten scores a user, padding among them
    method, sizes = TableMethod(torch.ones(10, 1)), []
    plain = method.scores
    method.scores = lambda states, items: (sizes.append(len(states)), plain(states, items))[1]
    rank(method, split, "test", memory(scores))
    assert sizes == expected


@pytest.mark.parametrize(("users", "fits", "expected"), [(5, 1, [5, 2, *[1] * 5]), (1, 1, [1, 1]), (5, 0, [5, 2, 1])])
def test_where_one_user_is_too_many_memory_is_out(users, fits, expected, capsys):
    split = make_split([[1, 2, 3]] * users, 9)
    method, sizes = TableMethod(torch.ones(10, 1)), []
    plain = method.scores

    def limited(states: Tensor, items: slice) -> Tensor:
        sizes.append(len(states))
        if len(states) > fits or sizes == [1]:  # the first time, one is too many as well
            raise MemoryError
        return plain(states, items)

    method.scores = limited
    with contextlib.nullcontext() if fits else pytest.raises(MemoryError):
        rank(method, split, "test", Evaluate())
    assert sizes == expected


def test_of_many_scores_that_are_no_numbers_the_first_is_named():
    method = TableMethod(torch.full((10, 1), torch.nan))
    with pytest.raises(DataError, match="user 'user0' for item 'item1'"):
        rank(method, make_split([[1, 2, 3]] * 3, 9), "test", Evaluate())


def test_scores_too_many_for_one_sum_are_counted_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    split = make_split([rng.integers(1, 31, size=6).tolist() for _ in range(10)], 30)
    method = TableMethod(torch.from_numpy(rng.integers(0, 3, size=(31, 2)).astype(np.float32)))
    whole, _ = rank(method, split, "test", Evaluate())
    monkeypatch.setattr(ranking, "LARGEST_COUNT", 4)
    assert rows(rank(method, split, "test", Evaluate())[0]) == rows(whole)


def test_an_error_that_is_not_about_memory_is_not_swallowed():
    split = make_split([[1, 2, 3]], 9)
    method = TableMethod(torch.ones(10, 1))

    def broken(states: Tensor, items: slice) -> Tensor:
        raise RuntimeError("a defect")

    method.scores = broken
    with pytest.raises(RuntimeError, match="a defect"):
        rank(method, split, "test", Evaluate())
