"""Several processes together give what one gives alone: real gloo processes on the CPU, started as accelerate does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from small_models import encoder

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(task: str, folder: Path, count: int, more: dict[str, str]) -> list[dict[str, torch.Tensor]]:
    """What each of `count` processes wrote."""
    port = str(free_port())
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, HERE / "two_processes.py", task, str(folder)],
            env=os.environ
            | shared
            | more
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)},
        )
        for rank in range(count)
    ]
    assert [process.wait(timeout=240) for process in running] == [0] * count
    return [load_file(folder / f"{task}-{rank}.safetensors") for rank in range(count)]


@pytest.fixture
def folder(tmp_path) -> Path:
    encoder("causal_lm", tmp_path / "model")
    return tmp_path


@pytest.mark.parametrize("more", [{}, {"ACCELERATE_USE_FSDP": "true"}], ids=["replicated", "sharded"])
@pytest.mark.parametrize(("task", "rounding"), [("gradient", 2e-4), ("tuned", 1e-2)])  # AdamW amplifies it
def test_two_processes_with_half_the_batch_each_give_what_one_gives_with_the_whole(task, rounding, more, folder):
    [alone] = start(task, folder, 1, {})
    for found in start(task, folder, 2, more):
        assert found.keys() == alone.keys()
        for name, expected in alone.items():
            assert (found[name] - expected).norm() <= rounding * expected.norm() + 1e-6, name
