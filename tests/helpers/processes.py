"""Start several processes on one machine as accelerate does: gloo on the CPU."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests import ROOT

SECONDS = 120  # a process that waits for another waits for ever


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(script: Path, task: str, folder: Path, count: int, more: dict[str, str]) -> list[dict[str, torch.Tensor]]:
    """What each of `count` processes that run a script wrote."""
    port = str(free_port())
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    running = [
        subprocess.Popen(
            [sys.executable, script, task, str(folder)],
            env=os.environ
            | shared
            | more
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)},
        )
        for rank in range(count)
    ]
    assert [process.wait(timeout=SECONDS) for process in running] == [0] * count
    return [load_file(folder / f"{task}-{rank}.safetensors") for rank in range(count)]
