"""Ragged to rectangular, and which items a user has seen."""

from __future__ import annotations

import numpy as np

from llmemb_bench.values.padding import SeenItems, pad_right


def test_slices_stand_at_the_left_of_rows_as_wide_as_the_longest():
    items = np.array([3, 1, 4, 1, 5, 9])
    padded = pad_right(items, np.array([0, 4, 2]), np.array([3, 2, 0]))
    assert padded.tolist() == [[3, 1, 4], [5, 9, 0], [0, 0, 0]]


def test_there_is_one_column_at_the_least():
    none = np.array([], dtype=np.int64)
    assert pad_right(np.array([7]), np.array([0, 1]), np.array([0, 0])).tolist() == [[0], [0]]
    assert pad_right(np.array([7]), np.array([0]), np.array([1])).tolist() == [[7]]
    assert pad_right(none, none, none).shape == (0, 1)


def test_seen_are_the_pairs_of_the_events_and_no_others():
    users, items = np.array([0, 0, 0, 2, 1]), np.array([4, 1, 4, 4, 2])
    seen = SeenItems(users, items, 4)
    found = seen.holds(np.arange(3)[:, None], np.arange(1, 5))
    assert found.tolist() == [[True, False, False, True], [False, True, False, False], [False, False, False, True]]
    assert seen.per_user(4).tolist() == [2, 1, 1, 0]
