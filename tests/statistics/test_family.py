"""Holm's adjustment by hand, and places that admit ties."""

from __future__ import annotations

import numpy as np
import pytest

from llmemb_bench.statistics.family import holm, holm_of_pairs, places


def test_holm_by_hand():
    """.01, .02, .03, .005 in order of size: .005 x 4, .01 x 3, .02 x 2, .03 x 1, none below one before it."""
    assert holm(np.array([0.01, 0.02, 0.03, 0.005])) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm(np.array([0.9, 0.6])) == pytest.approx([1.0, 1.0])
    assert holm(np.array([0.04])) == pytest.approx([0.04])
    assert holm(np.array([])).shape == (0,)


def test_what_was_not_tested_is_no_member_of_the_family():
    assert holm(np.array([np.nan, 0.01, 0.02])) == pytest.approx([np.nan, 0.02, 0.02], nan_ok=True)


def test_a_pair_of_rows_is_one_test():
    p = np.array([[1.0, 0.01, 0.04], [0.01, 1.0, 0.02], [0.04, 0.02, 1.0]])
    adjusted = holm_of_pairs(p)
    assert adjusted[0, 1] == adjusted[1, 0] == pytest.approx(0.03)
    assert adjusted[0, 2] == pytest.approx(0.04)
    assert np.isnan(np.diag(adjusted)).all()


def test_rows_that_cannot_be_told_apart_share_their_places():
    """The best is above all; the two in the middle are tied; the last is below the first alone."""
    means = np.array([0.5, 0.3, 0.29, 0.2])
    adjusted = np.full((4, 4), 0.5)
    adjusted[0, 1:] = adjusted[1:, 0] = 0.001
    assert places(means, adjusted).T.tolist() == [[1, 1], [2, 4], [2, 4], [2, 4]]


def test_without_significance_every_place_is_open_and_with_all_of_it_none_is():
    means = np.array([0.1, 0.3, 0.2])
    assert places(means, np.full((3, 3), np.nan)).T.tolist() == [[1, 3]] * 3
    assert places(means, np.zeros((3, 3))).T.tolist() == [[3, 3], [1, 1], [2, 2]]
