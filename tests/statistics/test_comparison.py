"""Two rows side by side: what the numbers are, and what must not change them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from llmemb_bench.statistics.bootstrap import MANY, intervals, resampled
from llmemb_bench.statistics.comparison import compare, few_seeds, mean_over
from llmemb_bench.statistics.moments import Moments
from llmemb_bench.statistics.randomisation import EXACT, FLIPS, randomisation_p
from tests.statistics.studies import study


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def sides(generator) -> tuple[np.ndarray, np.ndarray]:
    """Hit rates of 400 users under three seeds, the first side a little better."""
    taste = generator.random((1, 400)) * 0.2
    draws = [(generator.random((3, 400)) < taste + lift).astype(float) for lift in (0.06, 0.0)]
    return draws[0], draws[1]


def test_a_better_row_has_a_small_p_and_an_interval_above_zero(sides):
    found = compare(*sides)
    assert found.difference.mean == pytest.approx(float((sides[0] - sides[1]).mean()))
    assert found.p < 0.05
    assert found.p_randomisation < 0.01
    assert 0 < found.difference.low < found.difference.mean < found.difference.high
    assert (found.n_users, found.n_seeds) == (400, 3)


def test_equal_rows_have_p_of_one_and_nothing_to_detect(sides):
    found = compare(sides[0], sides[0])
    assert (found.p, found.p_randomisation) == (1.0, 1.0)
    assert (found.difference.low, found.difference.mean, found.difference.high) == (0.0, 0.0, 0.0)
    assert np.isnan(found.effect)
    assert np.isnan(found.detectable)


def test_swapped_sides_give_the_same_with_the_other_sign(sides):
    there, back = compare(*sides), compare(*sides[::-1])
    assert (there.p, there.p_randomisation, there.detectable) == (back.p, back.p_randomisation, back.detectable)
    assert there.effect == -back.effect
    mirrored = (-back.difference.high, -back.difference.mean, -back.difference.low)
    assert (there.difference.low, there.difference.mean, there.difference.high) == pytest.approx(mirrored, abs=1e-12)


def test_the_order_of_users_does_not_matter(sides, generator):
    order = generator.permutation(400)
    here, there = compare(*sides), compare(*(side[:, order] for side in sides))
    assert (here.p, here.effect, here.detectable) == pytest.approx((there.p, there.effect, there.detectable), rel=1e-9)
    assert here.p_randomisation == there.p_randomisation
    ends = [(one.difference.low, one.difference.high) for one in (here, there)]
    assert ends[0] == pytest.approx(ends[1], abs=1e-12)


def test_a_user_without_a_value_on_one_side_is_left_out_of_both(sides):
    first, second = (side.copy() for side in sides)
    first[1, 7] = np.nan
    second[0, 9] = np.nan
    kept = np.delete(np.arange(400), [7, 9])
    assert compare(first, second) == compare(first[:, kept], second[:, kept])


def test_with_one_seed_the_test_is_scipys_paired_t_test(sides):
    first, second = sides[0][:1], sides[1][:1]
    found = compare(first, second)
    assert found.p == pytest.approx(stats.ttest_rel(first[0], second[0]).pvalue, rel=1e-9)
    differences = first[0] - second[0]
    assert found.effect == pytest.approx(differences.mean() / differences.std(ddof=1))


def test_variance_and_freedom_are_those_of_the_two_way_table_by_hand():
    """Two seeds, three users: mean squares 1.5 (seeds), 7 (users), 0.5 (rest), worked on paper."""
    values = np.array([[1.0, 2.0, 5.0], [1.0, 4.0, 5.0]])
    seeds, users, rest = 3 * np.var([8 / 3, 10 / 3], ddof=1), 2 * np.var([1.0, 3.0, 5.0], ddof=1), 2 / 3
    found = Moments.of(values[..., None]).rows()
    assert found.mean[0] == pytest.approx(3.0)
    assert found.variance[0] == pytest.approx((seeds + users - rest) / 6)
    freedom = (seeds + users - rest) ** 2 / (seeds**2 / 1 + (users - rest) ** 2 / 2)
    assert found.freedom[0] == pytest.approx(freedom)


def test_pairs_of_rows_are_what_each_pair_is_alone(generator):
    values = generator.random((3, 50, 4))
    found = Moments.of(values, pairs=True).pairs()
    for first in range(4):
        for second in range(4):
            alone = Moments.of((values[..., first] - values[..., second])[..., None]).rows()
            assert found.mean[first, second] == pytest.approx(alone.mean[0], abs=1e-12)
            assert found.p()[first, second] == pytest.approx(alone.p()[0], rel=1e-6)


def test_sums_over_blocks_are_sums_over_all_users(generator):
    values = generator.random((2, 100, 3))
    whole, parts = Moments.of(values), Moments.together([values[:, :30], values[:, 30:31], values[:, 31:]])
    assert whole.rows().p() == pytest.approx(parts.rows().p())


def test_with_few_users_every_sign_is_tried():
    """Five differences of one size: of 32 signs, two sum to as much."""
    assert randomisation_p(np.full(5, 0.25)) == 2 / 32
    differences = np.array([0.0, 0.3, -0.1, 0.0, 0.2])  # 8 signs of three users; 0.6 > 0.4 are 0.4 or more: 4
    assert randomisation_p(differences) == 4 / 8


def test_the_randomisation_p_is_never_zero_and_near_scipys_own(generator):
    assert randomisation_p(np.ones(EXACT + 30)) == 1 / (FLIPS + 1)
    differences = generator.normal(0.15, 1, 80)
    there = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(3)
    )
    assert randomisation_p(differences) == pytest.approx(there.pvalue, abs=0.02)


def test_with_many_users_the_limit_is_what_drawing_comes_to(generator):
    """Just below MANY users are drawn, from there on they are not: the two agree to the noise of drawing."""
    values = (generator.random((2, MANY - 1)) < 0.05).astype(float)
    drawn, limit = mean_over(values), Moments.of(values[..., None]).rows()
    width = 2 * float(limit.margin()[0])
    assert drawn.low == pytest.approx(float((limit.mean - limit.margin())[0]), abs=0.05 * width)
    assert drawn.high == pytest.approx(float((limit.mean + limit.margin())[0]), abs=0.05 * width)
    more = np.concatenate([values, values[:, :1]], axis=1)
    assert mean_over(more).low == pytest.approx(drawn.low, abs=0.05 * width)


@pytest.mark.parametrize("n_users", [500, 4000])
def test_the_bootstrap_of_one_seed_is_scipys_bootstrap(n_users, generator):
    """Users drawn one by one, and by Poisson numbers of copies."""
    values = generator.standard_exponential((1, n_users))
    low, high = intervals(resampled(values))[:, 0]
    there = stats.bootstrap(
        (values[0],), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(5), batch=100
    ).confidence_interval
    width = there.high - there.low
    assert (low, high) == pytest.approx((there.low, there.high), abs=0.06 * width)


def test_twenty_thousand_users_take_seconds_and_no_memory_to_speak_of(generator):
    first, second = (generator.random((5, 20_000), dtype=np.float32) for _ in range(2))
    begun = time.process_time()
    compare(first, second)
    assert time.process_time() - begun < 5


def test_one_user_is_no_study():
    found = compare(np.array([[1.0]]), np.array([[0.0]]))
    assert found.difference.mean == 1.0
    assert np.isnan([found.difference.low, found.p, found.detectable]).all()
    with pytest.raises(ValueError, match="no user has values in both"):
        compare(np.array([[np.nan]]), np.array([[0.0]]))
    with pytest.raises(ValueError, match="cannot be paired"):
        compare(np.zeros((2, 3)), np.zeros((1, 3)))


@pytest.mark.parametrize(("n_seeds", "word"), [(1, "1 seed:"), (2, "2 seeds"), (4, "4 seeds, fewer than 5")])
def test_few_seeds_are_said(n_seeds, word):
    assert word in few_seeds(n_seeds)
    assert few_seeds(5) == ""


def test_equal_rows_have_uniform_p(generator):
    """200 draws of A = B; a uniform p fails the Kolmogorov-Smirnov test at .001 once in a thousand runs of a seed."""
    values = np.stack([study(generator, 5, 60, user=0.5) for _ in range(200)], axis=-1)
    assert stats.kstest(Moments.of(values).rows().p(), "uniform").pvalue > 0.001
    by_users = [randomisation_p(row) for row in values[0].T[:, : EXACT - 4]]
    assert stats.kstest(by_users, "uniform").pvalue > 0.001
