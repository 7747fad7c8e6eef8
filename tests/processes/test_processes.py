"""Several processes together give what one gives alone: real gloo processes on the CPU, started as accelerate does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmemb_bench.text.files import read_vectors
from tests.helpers.processes import SECONDS, free_port, start
from tests.helpers.small_models import encoder

SCRIPT = Path(__file__).parent / "two_processes.py"


@pytest.fixture
def folder(tmp_path) -> Path:
    encoder("causal_lm", tmp_path / "model")
    return tmp_path


@pytest.mark.parametrize("more", [{}, {"ACCELERATE_USE_FSDP": "true"}], ids=["replicated", "sharded"])
@pytest.mark.parametrize(("task", "rounding"), [("gradient", 2e-4), ("tuned", 1e-2)])  # AdamW amplifies it
def test_two_processes_with_half_the_batch_each_give_what_one_gives_with_the_whole(task, rounding, more, folder):
    [alone] = start(SCRIPT, task, folder, 1, {})
    for found in start(SCRIPT, task, folder, 2, more):
        assert found.keys() == alone.keys()
        for name, expected in alone.items():
            assert (found[name] - expected).norm() <= rounding * expected.norm() + 1e-6, name


ACCELERATE = """
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'
use_cpu: true
num_machines: 1
num_processes: 1
machine_rank: 0
mixed_precision: 'no'
"""


@pytest.fixture
def spec(folder, events_csv) -> Path:
    """Twenty items, three steps."""
    (folder / "spec.yaml").write_text(
        "version: 1\nname: s\n"
        f"dataset: {{use: table, events: {events_csv}, items: {events_csv.parent / 'items.csv'}}}\n"
        "embeddings:\n"
        f"  encoder: {{use: causal_lm, checkpoint: {folder / 'model'}, lora: {{rank: 2}}}}\n"
        "  scft: {augmentations: [drop_attributes], loss: info_nce, steps: 3, batch_size: 6, learning_rate: 0.01}\n"
        "recommender:\n  method: llmemb\n  backbone: {use: sasrec, dim: 8}\n  objective: bce\n"
        "  train: {epochs: 1}\nevaluate: {protocols: [full]}\n"
    )
    return folder / "spec.yaml"


def run(*words: object, folder: Path, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, "-m", "llmemb_bench", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS)


def test_a_command_in_two_processes_speaks_once_and_gives_the_same(spec, folder):
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()))
    found = []
    for name, launcher in (("one", ()), ("two", torchrun)):
        ran = run("embed", spec, "-o", f"{name}.parquet", "--results", name, folder=folder, launcher=launcher)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.count("20 items x 32 dimensions in") == 1
        assert ran.stderr.count("preparing") == 1
        found.append(read_vectors(folder / f"{name}.parquet"))
    assert found[0][0] == found[1][0]
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-2)
    ran = run("run", spec, "--results", "two", folder=folder, launcher=torchrun)
    assert ran.stdout.endswith("\n1 of 1 cells done; see: llmemb-bench report --results two\n"), ran.stderr
    assert (ran.stdout.count("cells done"), ran.stdout.count("HR@10"), ran.stderr.count("HR@10")) == (1, 3, 1)


def test_an_accelerate_file_starts_the_command_and_its_exit_code_is_kept(spec, folder):
    (folder / "a.yaml").write_text(ACCELERATE)
    for name in ("json", "numpy", "torch"):  # in the current folder, from which nothing may be imported
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} of the current folder ran')\n")
    ran = run("run", spec, "--accelerate-config", "a.yaml", folder=folder)
    assert (ran.returncode, ran.stdout.count("1 of 1 cells done")) == (0, 1), ran.stderr
    spec.write_text(spec.read_text().replace(str(folder / "model"), str(folder / "nowhere")))
    ran = run("run", spec, "--accelerate-config=./a.yaml", folder=folder)
    assert (ran.returncode, "Traceback" in ran.stderr) == (4, False), ran.stderr
    ran = run("run", spec, "--accelerate-config", "no.yaml", folder=folder)
    assert (ran.returncode, "accelerate config --config_file no.yaml" in ran.stderr) == (4, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("num_processes: 1", "num_processes: 2"), "torchrun --nproc-per-node 2 --no-python llmemb-bench"),
        (("mixed_precision: 'no'", "mixed_precision: bf16"), "dtype: bfloat16 in the spec"),
        (("distributed_type: 'NO'", "distributed_type: DEEPSPEED"), "distributed_type: is not supported"),
        (("compute_environment", "- ["), "cannot be read"),
    ],
)
def test_an_accelerate_file_that_would_not_do_what_it_says_is_refused(change, message, spec, folder):
    (folder / "a.yaml").write_text(ACCELERATE.replace(*change))
    ran = run("run", spec, "--accelerate-config", "a.yaml", folder=folder)
    assert (ran.returncode, message in ran.stderr, "Traceback" in ran.stderr) == (2, True, False), ran.stderr
