"""What must stay light: --help, list and report never import torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "sklearn", "scipy")

PROGRAM = """
import sys
sys.argv = ["llmemb-bench", *{words!r}]
from llmemb_bench.cli import main
try:
    main()
except SystemExit:
    pass
sys.stderr.write("HEAVY " + ",".join(name for name in {heavy!r} if name in sys.modules))
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["data", "--help"],
        ["data", "describe", "--help"],
        ["data", "prepare", "synthetic"],
        ["encoders", "compare", "--help"],
        ["recommend", "--help"],
        ["export", "--help"],
        ["list"],
        ["list", "backbones"],
        ["report"],
        ["report", "--format", "json"],
        ["audit", "--help"],
        ["--version"],
    ],
    ids=" ".join,
)
def test_light_commands_never_import_torch(words, tmp_path, monkeypatch):
    from llmemb_bench.runs.database import enter
    from tests.helpers.stored_runs import write_run

    monkeypatch.setenv("LLMEMB_BENCH_RESULTS", str(tmp_path))
    enter(tmp_path, write_run(tmp_path))
    program = PROGRAM.format(words=words, heavy=HEAVY)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout
    assert ran.stderr.endswith("HEAVY ")
