"""How histories are cut, and what the leak report says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llmemb_bench.base.errors import SpecError
from llmemb_bench.data.statistics import describe, leaks, twin_users
from llmemb_bench.settings.split import SplitConfig
from llmemb_bench.values.recdata import Items, RecData
from llmemb_bench.values.split import Split
from llmemb_bench.values.strings import Strings

BY_TIME = SplitConfig(by="time", validation_share=0.2, test_share=0.2)


def data_of(
    histories: Sequence[Sequence[int]], times: Sequence[Sequence[int]] | None = None, folds: list[int] | None = None
) -> RecData:
    """Histories of item ids; with times in seconds, or only an order."""
    n_items = max(item for history in histories for item in history)
    flat = np.array([item for history in histories for item in history], dtype=np.int32)
    moments = np.arange(len(flat)) if times is None else np.array([time for row in times for time in row])
    return RecData(
        np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64),
        flat,
        moments.astype(np.int64),
        Strings.of(f"u{user}" for user in range(len(histories))),
        Items.of([f"i{item}" for item in range(1, n_items + 1)], [(("title", "x"),)] * n_items),
        "order" if times is None else "s",
        None if folds is None else np.array(folds, dtype=np.int8),
    )


def cut(split: Split, user: int) -> tuple[int, int]:
    return int(split.fold_starts[0][user]), int(split.fold_starts[1][user])


def test_the_last_event_tests_and_the_one_before_validates():
    split = Split(data_of([[1, 2, 3, 4], [1, 2], [3, 2, 1]]))
    assert [cut(split, user) for user in range(3)] == [(2, 3), (2, 2), (1, 2)]
    assert split.users("test").tolist() == split.users("validation").tolist() == [0, 2]
    assert (split.targets("validation").tolist(), split.targets("test").tolist()) == ([3, 2], [4, 1])


def test_one_moment_for_all_ends_training_and_another_validation():
    times = [[0, 10, 20, 30, 40], [0, 1, 2], [35, 45, 47], [25, 45, 46]]
    data = data_of([[1, 2, 3, 4, 5], [1, 2, 3], [1, 2, 3], [1, 2, 3]], times)
    split = Split(data, SplitConfig(by="time", validation_from="1970-01-01", test_from="1970-01-02"))
    assert split.cuts == (0, 86_400)
    split = Split(data, BY_TIME)
    assert split.cuts == (35, 45)  # events 8 and 11 of 14 in time order: 60 % and 80 %
    assert [cut(split, user) for user in range(4)] == [(4, 5), (3, 3), (0, 1), (1, 1)]
    assert split.users("validation").tolist() == [0]  # user 2 has nothing to learn from before 35
    assert split.users("test").tolist() == [2, 3]
    assert split.targets("validation").tolist() == [5]
    assert split.targets("test").tolist() == [2, 2]
    assert split.training_events()[1].tolist() == [1, 2, 3, 4, 1, 2, 3, 1]


@pytest.mark.parametrize(("unit", "ticks"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_days_begin_at_midnight_utc_in_the_unit_of_the_data(unit, ticks):
    data = replace(data_of([[1, 2, 3]], [[0, 1, 2]]), time_unit=unit)
    split = Split(data, SplitConfig(by="time", validation_from="2014-07-22", test_from="2014-07-23"))
    assert split.cuts == (1_405_987_200 * ticks, 1_406_073_600 * ticks)  # date -u -d 2014-07-22 +%s


def test_a_user_whose_events_all_come_after_both_cuts_is_not_evaluated():
    times = [[0, 1, 2, 3, 4, 5, 6], [7, 8, 9]]
    split = Split(data_of([[1] * 7, [2] * 3], times), BY_TIME)
    assert split.cuts == (6, 8)
    later = Split(data_of([[1] * 7, [2] * 3], [[0, 1, 2, 3, 4, 5, 6], [8, 8, 9]]), BY_TIME)
    assert (cut(later, 1), later.users("test").tolist(), later.users("validation").tolist()) == ((0, 0), [], [0])


def test_training_histories_are_the_latest_training_events():
    split = Split(data_of([[1, 2, 3, 4, 5], [6, 7, 8], [9, 1, 2, 3]]))
    assert split.training_histories(np.array([2, 0]), 2).tolist() == [[9, 1], [2, 3]]
    assert split.training_histories(np.array([0, 1, 2]), 9).tolist() == [[1, 2, 3], [6, 0, 0], [9, 1, 0]]


def test_given_files_decide_and_the_first_event_of_a_part_is_its_target():
    folds = [0, 0, 1, 2, 0, 1, 1, 2, 2, 0, 0, 0, 0, 0, 2]
    data = data_of([[1, 2, 3, 4], [5, 4, 3, 2, 1], [1, 2, 3], [1, 2, 3]], folds=folds)
    split = Split(data, SplitConfig(by="file"))
    assert [cut(split, user) for user in range(4)] == [(2, 3), (1, 3), (3, 3), (2, 2)]
    assert (split.users("validation").tolist(), split.users("test").tolist()) == ([0, 1], [0, 1, 3])
    assert split.targets("test").tolist() == [4, 2, 3]
    assert leaks(split)["events_after_the_target"] == 1  # of user 1, whose test part holds two events


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=8), min_size=1, max_size=12), st.booleans())
def test_a_time_split_never_trains_on_what_comes_after(times, by_time):
    times = [sorted(row) for row in times]
    split = Split(data_of([[1] * len(row) for row in times], times), BY_TIME if by_time else SplitConfig())
    before, after = split.fold_starts
    assert (before <= after).all()
    assert (after <= split.lengths).all()
    for fold in ("validation", "test"):
        assert (split.lengths[split.users(fold)] >= 3).all()
        assert (split.input_lengths(fold) >= 1).all()
        if by_time and len(split.users(fold)):
            trained = [time for row, count in zip(times, split.n_train.tolist(), strict=True) for time in row[:count]]
            assert max(trained, default=-1) < split.data.times[split.target_indices(fold)].min()


def test_data_that_cannot_be_cut_so_say_what_to_write_instead():
    with pytest.raises(SpecError, match="these data have no times -> by: last_two"):
        Split(data_of([[1, 2, 3]]), BY_TIME).users("test")
    with pytest.raises(SpecError, match="give no split"):
        Split(data_of([[1, 2, 3]]), SplitConfig(by="file")).users("test")


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        ({"test_share": 0.2}, "should be 'by: time' where test_share is set"),
        ({"by": "time", "test_from": "2014-01-01"}, "both validation_from and test_from"),
        (
            {"by": "time", "test_from": "2014-01-01", "validation_from": "2015-01-01"},
            "before test_from",
        ),
        ({"by": "time", "test_share": 0.5}, "less than 0.5"),
        ({"by": "random"}, "'last_two', 'time' or 'file'"),
    ],
)
def test_a_split_that_contradicts_itself_is_refused(given, finding):
    with pytest.raises(ValidationError, match=finding):
        SplitConfig.model_validate(given)


def test_another_split_of_the_same_data_is_another_protocol():
    data = data_of([[1, 2, 3]] * 3, [[0, 1, 2]] * 3)
    assert Split(data).key != Split(data, BY_TIME).key


def test_the_leak_report_counts_what_was_planted():
    histories = [
        [1, 2, 3, 1],  # target 1 is in its history
        [2, 2, 4, 5],  # a duplicate event: item 2 twice at time 10; target 5 is never trained on
        [1, 2, 3, 1],  # twin of the first
        [3, 4],  # too short
        [4, 3, 2],
    ]
    times = [[0, 1, 2, 3], [10, 10, 11, 12], [0, 1, 2, 3], [5, 6], [100, 101, 102]]
    found = leaks(Split(data_of(histories, times)))
    assert found == {
        "users_below_three_events": 1,
        "users_with_one_training_event": 1,
        "repeated_events": 3,
        "duplicate_events": 1,
        "events_at_equal_times": 2,
        "users_with_equal_times": 1,
        "twin_users": 2,
        "targets": 4,
        "cold_targets": 1,
        "targets_in_history": 2,
        # Training ends at 100 (user 4): the targets at 3, 12 and 3 come before; user 4's own comes after all.
        "targets_before_others_training": 3,
        "training_events_after_a_target": (5 + 1 + 5 + 0) / 4 / 9,
        "events_after_the_target": 0,
    }


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=5), min_size=1, max_size=20))
def test_twins_are_users_with_the_same_items_in_the_same_order(histories):
    long = [tuple(history) for history in histories if len(history) >= 3]
    assert twin_users(data_of(histories)) == sum(long.count(history) > 1 for history in long)


def test_without_times_what_needs_them_is_not_known():
    facts = describe(Split(data_of([[1, 2, 3], [2, 3, 1]])))
    unknown = {name for section in facts.values() for name, value in section.items() if value is None}
    assert unknown == {
        *("first_day", "last_day", "duplicate_events", "events_at_equal_times", "users_with_equal_times"),
        *("targets_before_others_training", "training_events_after_a_target"),
    }
