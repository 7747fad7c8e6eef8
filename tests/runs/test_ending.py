"""How a training ended, in words: still rising, cut off by a limit, or neither."""

from __future__ import annotations

import pytest

from llmemb_bench.runs.ending import endings

SETTINGS = {"epochs": 100, "steps": None, "patience": 20, "validate_every": 1}
RISING, CUT = "the best epoch is among the last tenth", "training was cut off before patience ran out"


@pytest.mark.parametrize(
    ("best", "epochs", "more", "start", "setting"),
    [
        (50, 70, {}, "", ""),  # patience
        (80, 100, {}, "", ""),  # patience and limit at once
        (81, 100, {}, CUT, "epochs"),
        (90, 100, {}, CUT, "epochs"),
        (91, 100, {}, RISING, "epochs"),
        (100, 100, {}, RISING, "epochs"),
        (1, 1, {"epochs": 1}, RISING, "epochs"),
        (2, 3, {"epochs": 3}, CUT, "epochs"),
        (1, 3, {"epochs": 3, "patience": 2}, "", ""),
        (19, 20, {"patience": 1}, RISING, "patience"),
        (30, 40, {"steps": 500}, CUT, "steps"),
        (40, 40, {"steps": 500}, RISING, "steps"),
        (60, 100, {"validate_every": 2}, "", ""),  # twenty validations since
        (62, 100, {"validate_every": 2}, CUT, "epochs"),
    ],
)
def test_an_ending_is_told_by_the_limit_that_made_it(best, epochs, more, start, setting):
    found = endings({"best_epoch": best, "epochs": epochs, "steps": 500}, SETTINGS | more)
    assert [line.partition(",")[0].partition(":")[0] for line in found] == ([start] if start else [])
    assert all(line.endswith(f"raise recommender.train.{setting}") for line in found)


def test_where_nobody_knows_the_settings_only_a_late_best_epoch_is_told():
    assert endings({"best_epoch": 5, "epochs": 10, "steps": 500}, {}) == []
    [line] = endings({"best_epoch": 10, "epochs": 10, "steps": 500}, {})
    assert line.startswith(RISING)
    assert line.endswith("raise recommender.train.epochs")
