"""What ranks are worth, where a metric says nonsense and where there are no users."""

from __future__ import annotations

import numpy as np
import pytest

from llmemb_bench.base.errors import BenchError
from llmemb_bench.contracts import Metric
from llmemb_bench.evaluation.expectation import expected, gains, tie_gap
from llmemb_bench.evaluation.ranking import Ranks
from llmemb_bench.registry.config import Config
from tests.helpers.plugins import plugin


class Worth(Metric):
    """What is given, whatever the ranks."""

    config: Config

    def __init__(self, worth: list[float]) -> None:
        super().__init__(Config())
        self.worth = np.array(worth)

    def gain(self, ranks: np.ndarray) -> np.ndarray:
        return self.worth


@pytest.mark.parametrize(
    ("worth", "finding"),
    [
        ([np.inf, 1, 2, 3], "gives inf for rank 1"),
        ([0, 1, np.nan, np.inf], "gives nan for rank 3"),
        ([0, 1, 2, -np.inf], "gives -inf for rank 4"),
    ],
)
def test_the_first_rank_that_is_worth_no_number_is_named_with_what_it_got(worth, finding):
    with pytest.raises(BenchError, match=finding):
        gains(Worth(worth), 4)


def test_without_users_ties_could_move_nothing():
    none = np.array([], dtype=np.int64)
    assert expected(plugin("metrics", "ndcg"), 5, Ranks(none, none, none)).tolist() == []
    assert tie_gap(plugin("metrics", "ndcg"), 5, Ranks(none, none, none)) == 0
