"""Two processes train what one trains: real gloo processes on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.processes import start

SCRIPT = Path(__file__).parent / "two_trainers.py"


@pytest.mark.parametrize(("task", "rounding"), [("gradient", 1e-5), ("tuned", 1e-2)])  # Adam amplifies it
def test_two_processes_with_half_the_batch_each_give_what_one_gives_with_the_whole(task, rounding, tmp_path):
    [alone] = start(SCRIPT, task, tmp_path, 1, {})
    for found in start(SCRIPT, task, tmp_path, 2, {}):
        assert found.keys() == alone.keys()
        for name, expected in alone.items():
            assert (found[name] - expected).norm() <= rounding * expected.norm() + 1e-5, name
