"""A hundred runs killed in all stages, each followed by one that ends with the bytes of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.helpers.small_world import bytes_of, make_world


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_whatever_order_their_sets_have(tmp_path):
    spec = make_world(tmp_path / "world")
    for order in ("1", "2"):
        command = [sys.executable, "-m", "llmemb_bench", "run", str(spec), "--results", str(tmp_path / order)]
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": order}, check=True, capture_output=True)
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "2")
    assert "adapter_config.json" in {Path(name).name for name in bytes_of(tmp_path / "1")}


@pytest.mark.slow
def test_a_hundred_kills_over_all_stages_leave_no_trace(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.kills", str(tmp_path / "world"), "104"]
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["unequal"] == []
    assert (found["parts after SIGTERM"], set(found["codes of SIGTERM"])) == ([], {143})
    by_stage = {stage: found["kills"]["SIGKILL"][stage] + count for stage, count in found["kills"]["SIGTERM"].items()}
    assert sum(by_stage.values()) == 104
    assert min(count for stage, count in by_stage.items() if stage != "between") >= 10, by_stage
