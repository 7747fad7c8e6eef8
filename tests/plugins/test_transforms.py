"""Each transform against a plain float64 writing of it, or against scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats
from sklearn.decomposition import PCA

from llmemb_bench.contracts import FitRows
from llmemb_bench.contracts.transform import ROWS_PER_BLOCK
from llmemb_bench.registry.entries import find
from llmemb_bench.text.transforms import FittedTransform

N, DIM = 300, 12
IDS = [f"item{place}" for place in range(N)]
RNG = np.random.default_rng(3)
X = (RNG.standard_normal((N, DIM)) @ RNG.standard_normal((DIM, DIM)) + 5).astype(np.float32)
COUNTS = RNG.integers(1, 30, N)
WIDE = X.astype(np.float64)
CENTRED = WIDE - WIDE.mean(0)


def fitted(use: str, rows: FitRows | None = None, **settings: Any) -> FittedTransform:
    plugin = find("transforms", use).load()
    transform = plugin(plugin.config_type()(**settings))
    return FittedTransform(transform, transform.fit(rows or FitRows(IDS, X, COUNTS)))


def made(use: str, **settings: Any) -> np.ndarray:
    return fitted(use, **settings).apply(X, IDS)


def by_svd(dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U, S, V of the centred vectors, signs as scikit-learn's."""
    left, values, right = np.linalg.svd(CENTRED, full_matrices=False)
    signs = np.sign(right[np.arange(DIM), np.abs(right).argmax(1)])
    return (left * signs)[:, :dim], values[:dim], (right.T * signs)[:, :dim]


def test_pca_is_scikit_learns():
    theirs = PCA(5, svd_solver="full").fit(WIDE)
    np.testing.assert_allclose(made("pca", dim=5), theirs.transform(WIDE), atol=1e-5)
    new = WIDE[:7] * 1.5
    ours = fitted("pca", dim=5).apply(new.astype(np.float32), IDS[:7])
    np.testing.assert_allclose(ours, theirs.transform(new), atol=1e-5)


def test_pca_of_more_than_a_block_and_of_a_rank_that_is_not_full():
    rng = np.random.default_rng(0)
    many = (rng.standard_normal((ROWS_PER_BLOCK + 100, 3)) @ rng.standard_normal((3, 6)) + 2).astype(np.float32)
    ids = [str(row) for row in range(len(many))]
    ours = fitted("pca", FitRows(ids, many), dim=5).apply(many, ids)
    theirs = PCA(5, svd_solver="full").fit_transform(many.astype(np.float64))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", ["zca", "pca", "cholesky"])
@pytest.mark.parametrize("groups", [1, 4])
def test_whitening_makes_the_covariance_of_each_group_one(kind, groups):
    found = made("whiten", kind=kind, groups=groups).astype(np.float64)
    size = DIM // groups
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
    for start in range(0, DIM, size):
        group = found[:, start : start + size]
        np.testing.assert_allclose(group.T @ group / N, np.eye(size), atol=1e-4)
    assert (np.abs(np.corrcoef(found.T) - np.eye(DIM)).max() > 0.1) == (groups > 1)  # relaxed: not across groups


def test_the_three_kinds_of_whitening_are_their_equations():
    covariance = np.cov(WIDE.T, bias=True)
    inverse = np.linalg.inv(covariance)
    values, vectors = np.linalg.eigh(inverse)
    np.testing.assert_allclose(made("whiten"), CENTRED @ (vectors * np.sqrt(values)) @ vectors.T, atol=1e-4)
    np.testing.assert_allclose(made("whiten", kind="pca"), by_svd(DIM)[0] * np.sqrt(N), atol=1e-4)
    triangle = np.linalg.solve(np.linalg.cholesky(covariance), CENTRED.T).T
    np.testing.assert_allclose(made("whiten", kind="cholesky"), triangle, atol=1e-4)


@pytest.mark.parametrize("kind", ["zca", "pca", "cholesky"])
def test_a_direction_without_variance_is_held_by_the_floor(kind):
    flat = X.copy()
    flat[:, 3] = flat[:, 2]
    whitened = fitted("whiten", FitRows(IDS, flat), kind=kind, floor=1e-3)
    moved = flat[:1] + 0.01 * np.eye(DIM, dtype=np.float32)[[3]]
    largest = np.linalg.eigvalsh(np.cov(flat.astype(np.float64).T, bias=True))[-1]
    step = np.linalg.norm(whitened.apply(moved, IDS[:1]) - whitened.apply(flat[:1], IDS[:1]))
    assert step <= 0.01 / np.sqrt(1e-3 * largest) * 1.01
    assert whitened.apply(flat, IDS).std() < 1.01


def test_standardising_is_per_dimension_or_per_table():
    np.testing.assert_allclose(made("standardize"), CENTRED / WIDE.std(0), atol=1e-5)
    np.testing.assert_allclose(made("standardize", per="table"), CENTRED / CENTRED.std(), atol=1e-5)
    constant = X.copy()
    constant[:, 4] = 0.1
    assert not fitted("standardize", FitRows(IDS, constant)).apply(constant, IDS)[:, 4].any()


def test_a_random_projection_keeps_squared_lengths_on_average_and_depends_on_its_seed_alone():
    projected = made("random_projection", dim=4000).astype(np.float64)
    ratios = np.square(projected).sum(1) / np.square(WIDE).sum(1)
    assert abs(ratios.mean() - 1) < 0.05
    other = fitted("random_projection", FitRows(IDS[:5], 2 * X[:5]), dim=4000)
    np.testing.assert_array_equal(other.apply(X, IDS), made("random_projection", dim=4000))
    assert not np.allclose(made("random_projection", dim=4), made("random_projection", dim=4, seed=1))


def test_the_null_space_is_alphafuses_decomposition():
    values, vectors = np.linalg.eigh(np.cov(40 * WIDE.T))
    values, vectors = values[::-1], vectors[:, ::-1]
    plain = 40 * CENTRED @ vectors[:, :5]
    found = made("null_space", dim=5)
    np.testing.assert_allclose(np.abs(found), np.abs(plain / np.sqrt(values[:5])), atol=1e-4)
    np.testing.assert_allclose(
        np.abs(made("null_space", dim=5, standardize=False)), np.abs(plain), rtol=1e-4, atol=0.01
    )
    emptied = made("null_space", dim=5, empty=2)
    np.testing.assert_array_equal(emptied, np.where(np.arange(5) < 3, found, 0))
    by_threshold = made("null_space", dim=5, threshold=values[2])
    np.testing.assert_array_equal(by_threshold, np.where(values[:5] > values[2], found, 0))


def test_the_null_space_by_events_is_that_of_items_repeated():
    repeated = np.repeat(CENTRED + WIDE.mean(0), COUNTS, axis=0)
    found = made("null_space", dim=4, weights="events", fit_on="training").astype(np.float64)
    whole = np.repeat(found, COUNTS, axis=0)
    np.testing.assert_allclose(whole.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(whole.T, bias=True), np.eye(4), atol=1e-4)
    np.testing.assert_allclose(np.abs(whole), np.abs(PCA(4, whiten=True).fit_transform(repeated)), rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"weights": "events"}, "fit_on: training"),
        ({"empty": 4, "threshold": 1.0}, "not both"),
        ({"empty": 128}, "less than dim"),
    ],
)
def test_settings_of_the_null_space_that_exclude_each_other(settings, told):
    with pytest.raises(ValidationError, match=told):
        fitted("null_space", **settings)


def test_the_start_of_an_id_table_is_the_svd_at_a_scale_of_its_own():
    left, values, _ = by_svd(4)
    np.testing.assert_allclose(made("svd_init", dim=4), left * np.sqrt(N), atol=1e-4)
    scaled = made("svd_init", dim=4, standardize=False, std=0.02)
    plain = left * values
    np.testing.assert_allclose(scaled, 0.02 * plain / np.sqrt(np.square(plain).mean()), atol=1e-6)
    assert np.sqrt(np.square(scaled).mean()) == pytest.approx(0.02, rel=1e-5)


def test_dimensions_are_selected_by_three_rules():
    np.testing.assert_array_equal(made("select_dims", dim=5, rule="uniform"), X[:, [0, 2, 4, 7, 9]])
    popular = X[np.argsort(-COUNTS, kind="stable")]
    least = np.sort(COUNTS)[-N // 5]
    popular = X[least <= COUNTS].astype(np.float64)
    chosen = sorted(np.argsort(popular.var(0))[-4:])
    np.testing.assert_array_equal(made("select_dims", dim=4, rule="variance"), X[:, chosen])
    drawn = made("select_dims", dim=4, rule="random")
    columns = [int(np.flatnonzero((column[:, None] == X).all(0))[0]) for column in drawn.T]
    assert columns == sorted(set(columns))
    others = {made("select_dims", dim=4, rule="random", seed=seed).tobytes() for seed in range(9)}
    assert len(others) > 1


def test_a_permutation_gives_every_vector_to_exactly_one_item():
    found = made("permute")
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(X, axis=0))
    assert (found == X).all(1).sum() < 10
    assert not np.array_equal(found, made("permute", seed=1))
    kept = fitted("permute")
    new = kept.apply(np.full((50, DIM), 7, dtype=np.float32), [f"new{place}" for place in range(50)])
    assert {row.tobytes() for row in new} <= {row.tobytes() for row in X}


def test_a_permutation_is_drawn_uniformly():
    """Where the vector of one item goes, over many seeds; and one fixed point on average."""
    table = np.arange(1, 7, dtype=np.float32)[:, None]
    ids = IDS[:6]
    draws = [fitted("permute", FitRows(ids, table), seed=seed).apply(table, ids)[:, 0] for seed in range(600)]
    where = np.array([[np.flatnonzero(draw == value)[0] for value in (1, 6)] for draw in draws])
    for column in where.T:
        assert stats.chisquare(np.bincount(column, minlength=6)).pvalue > 1e-4
    fixed = np.mean([(draw == table[:, 0]).sum() for draw in draws])
    assert 0.8 < fixed < 1.2


def test_gaussian_vectors_have_mean_and_covariance_and_belong_to_the_item():
    ids = [f"item{place}" for place in range(20_000)]
    kept = fitted("gaussian")
    drawn = kept.apply(np.zeros((len(ids), DIM), dtype=np.float32), ids).astype(np.float64)
    covariance = np.cov(WIDE.T, bias=True)
    deviations = np.sqrt(np.diag(covariance))
    assert (np.abs(drawn.mean(0) - WIDE.mean(0)) < 5 * deviations / np.sqrt(len(ids))).all()
    error = np.abs(np.cov(drawn.T, bias=True) - covariance) / np.outer(deviations, deviations)
    assert error.max() < 0.05
    np.testing.assert_array_equal(kept.apply(X[5:6], IDS[5:6])[0], kept.apply(X, IDS)[5])
    assert not np.allclose(made("gaussian", seed=1), made("gaussian"))


def test_the_controls_are_known_as_such():
    kinds = {entry: find("transforms", entry).load().is_control for entry in ("permute", "gaussian", "pca", "whiten")}
    assert kinds == {"permute": True, "gaussian": True, "pca": False, "whiten": False}
