"""Whether two settings put rows in one order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from llmemb_bench.statistics.agreement import agreement, kendall
from llmemb_bench.statistics.bootstrap import resampled

NAMES = ("a", "b", "c", "d")


def test_tau_is_scipys_with_and_without_ties():
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 5, (50, 6)).astype(float), generator.random((50, 6))
    there = [stats.kendalltau(one, other).statistic for one, other in zip(first, second, strict=True)]
    assert kendall(first, second) == pytest.approx(there)
    assert np.isnan(kendall(np.ones((1, 4)), second[:1, :4])).all()


def test_one_order_agrees_fully_and_the_rows_that_change_places_are_named():
    means = np.array([0.4, 0.3, 0.2, 0.1])
    draws = means + np.zeros((20, 4))
    same = agreement(NAMES, means, means * 2, draws, draws * 2)
    assert (same.tau, same.low, same.high, same.moved) == (1.0, 1.0, 1.0, ())
    turned = agreement(NAMES, means, means[[1, 0, 2, 3]], draws, draws[:, [1, 0, 2, 3]])
    assert turned.tau == pytest.approx(1 - 2 * 1 / 6)
    assert turned.moved == (("a", 1, 2), ("b", 2, 1))


def test_rows_that_are_alike_have_a_wide_interval_and_rows_far_apart_a_narrow_one():
    generator = np.random.default_rng(1)
    found = []
    for apart in (0.0, 0.1):
        rates = 0.3 + apart * np.arange(4)
        hits = (generator.random((5, 300, 8)) < np.tile(rates, 2)).astype(float)
        draws, means = resampled(hits), hits.mean(axis=(0, 1))
        found.append(agreement(NAMES, means[:4], means[4:], draws[:, :4], draws[:, 4:]))
    assert found[0].high - found[0].low > 0.8
    assert found[1].low > 0.6
