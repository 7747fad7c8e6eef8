"""What `encoders compare` measures, against loops in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmemb_bench.text import geometry
from llmemb_bench.text.comparison import Cooccurrence, agreement, effective_dim, mean_cosine, places
from llmemb_bench.text.geometry import alignment, uniformity, unit


def drawn(seed: int, rows: int, dim: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


@pytest.fixture(params=[1 << 24, 7], ids=["whole", "blocks"], autouse=True)
def block(request, monkeypatch):
    monkeypatch.setattr(geometry, "ENTRIES", request.param)


def test_a_place_is_the_number_of_others_that_are_at_least_as_near():
    candidates, queries, own = unit(drawn(0, 12)), unit(drawn(1, 5)), np.array([3, 0, 11, 3, 7])
    candidates[4], candidates[9] = candidates[3], candidates[7]
    meaning = np.arange(12)
    meaning[9] = 7  # 9 is the same text as 7; 4 is another text with the vector of 3
    expected = []
    for query, place in zip(queries.astype(np.float64), own, strict=True):
        near = candidates.astype(np.float64) @ query
        others = [row for row in range(12) if meaning[row] != meaning[place]]
        expected.append(1 + sum(near[row] >= near[place] - 1e-6 for row in others))
    assert places(queries, candidates, own, meaning).tolist() == expected
    assert places(candidates[[3]], candidates, np.array([3]), meaning).tolist() == [2]
    assert places(candidates[[7]], candidates, np.array([7]), meaning).tolist() == [1]


def test_an_encoder_that_tells_nothing_apart_finds_nothing():
    same = unit(np.ones((10, 3), dtype=np.float32))
    assert places(same, same, np.arange(10), np.arange(10)).tolist() == [10] * 10
    assert (mean_cosine(same), uniformity(same), effective_dim(same)) == (
        pytest.approx(1),
        pytest.approx(0, abs=1e-6),
        0,
    )


def test_alignment_uniformity_and_mean_cosine_are_their_formulas():
    one, other = unit(drawn(2, 9)), unit(drawn(3, 9))
    a, b = one.astype(np.float64), other.astype(np.float64)
    pairs = [(i, j) for i in range(9) for j in range(9) if i != j]
    assert alignment(one, other) == pytest.approx(np.mean([((a[i] - b[i]) ** 2).sum() for i in range(9)]), abs=1e-6)
    spread = np.log(np.mean([np.exp(-2 * ((a[i] - a[j]) ** 2).sum()) for i, j in pairs]))
    assert uniformity(one) == pytest.approx(spread, abs=1e-6)
    assert mean_cosine(one) == pytest.approx(np.mean([a[i] @ a[j] for i, j in pairs]), abs=1e-6)


@pytest.mark.parametrize(("rows", "dim"), [(40, 6), (6, 40)])
def test_the_effective_dimension_is_that_of_the_eigenvalues(rows, dim):
    vectors = drawn(4, rows, dim) * np.linspace(0.1, 3, dim, dtype=np.float32) + 5
    values = np.clip(np.linalg.eigvalsh(np.cov(vectors.astype(np.float64), rowvar=False)), 0, None)
    assert effective_dim(vectors) == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-6)


def test_the_effective_dimension_of_a_line_is_one_and_of_a_cross_its_width():
    line = np.outer(np.arange(7), [1, 2, 3]).astype(np.float32)
    cross = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)
    assert effective_dim(line) == pytest.approx(1)
    assert effective_dim(cross) == pytest.approx(4)


EVENTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), min_size=1, max_size=40)


def plain_weights(events, n_items: int = 6) -> np.ndarray:
    had = [{user for user, item in events if item == of} for of in range(n_items)]
    found = np.zeros((n_items, n_items))
    for i in range(n_items):
        for j in range(n_items):
            if i != j and had[i] and had[j]:
                found[i, j] = len(had[i] & had[j]) / np.sqrt(len(had[i]) * len(had[j]))
    return found


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS)
def test_items_co_occur_by_the_users_of_both(events):
    users, items = np.array(events).T
    bought, expected = Cooccurrence(users, items, 6), plain_weights(events)
    np.testing.assert_allclose([bought.weights(item) for item in range(6)], expected, atol=1e-12)
    assert bought.paired().tolist() == np.flatnonzero(expected.any(1)).tolist()


def test_agreement_is_the_ndcg_of_the_nearest_items():
    rng = np.random.default_rng(5)
    events = list(
        {(int(user), int(item)) for user, item in zip(rng.integers(0, 9, 60), rng.integers(0, 6, 60), strict=True)}
    )
    users, items = np.array(events).T
    bought, weights, units = Cooccurrence(users, items, 6), plain_weights(events), unit(drawn(6, 6))
    expected = []
    for row in bought.paired():
        near = sorted((other for other in range(6) if other != row), key=lambda other: -(units[row] @ units[other]))[:3]
        best = sorted(weights[row], reverse=True)[:3]
        gains = [sum(gain / np.log2(place + 2) for place, gain in enumerate(of)) for of in (weights[row, near], best)]
        expected.append(gains[0] / gains[1])
    assert agreement(units, bought, bought.paired().tolist(), 3) == pytest.approx(np.mean(expected), rel=1e-9)


def test_vectors_in_the_shape_of_co_occurrence_agree_with_it_and_random_ones_do_not():
    rng = np.random.default_rng(7)
    groups = np.arange(200) % 20
    users = np.repeat(np.arange(300), 5)
    items = np.concatenate([rng.choice(np.flatnonzero(groups == user % 20), 5, replace=False) for user in range(300)])
    bought = Cooccurrence(users, items, 200)
    told = unit(np.eye(20, dtype=np.float32)[groups] + 0.05 * drawn(8, 200, 20))
    rows = bought.paired().tolist()
    assert agreement(told, bought, rows, 10) > 0.8
    assert agreement(unit(drawn(9, 200, 20)), bought, rows, 10) < 0.2
