"""What a process of several does in test_two_trainers.py: `python two_trainers.py TASK FOLDER`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from llmemb_bench.evaluation.ranking import rank
from llmemb_bench.processes.world import end, leave, world
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.training.gradients import backward, share_gradients
from llmemb_bench.training.loop import ValidationScore, train
from tests.helpers.small_training import world as small_world

ALIGNED = {"method": "llmemb", "alignment": {"weight": 0.5}, "ids": "add"}


def gradient(folder: Path) -> dict[str, torch.Tensor]:
    """Of one batch with alignment, in dense and in sparse rows."""
    found = {}
    for rows in ("dense", "sparse"):
        method, goal, batches = small_world(**ALIGNED)
        method.table.sparse = rows == "sparse"
        backward(method, goal, next(batches.epoch(0, 1)), TrainConfig())
        share_gradients([weight for weight in method.parameters() if weight.requires_grad])
        found |= {
            f"{rows} {name}": weight.grad.to_dense() if weight.grad.is_sparse else weight.grad
            for name, weight in method.named_parameters()
            if weight.grad is not None and name != "mask"
        }
    return found


def tuned(folder: Path) -> dict[str, torch.Tensor]:
    """Weights after some epochs, and the ranks that they give."""
    method, goal, batches = small_world(**ALIGNED)

    def validate() -> ValidationScore:
        full, _ = rank(method, batches.split, "validation", Evaluate())
        return ValidationScore(float(1 / (1 + full.n_greater.mean())))

    train(method, goal, batches, TrainConfig(epochs=3), validate, 0)
    full, _ = rank(method, batches.split, "test", Evaluate())
    return method.state_dict() | {"ranks": torch.from_numpy(full.n_greater).float()}


if __name__ == "__main__":
    task, place = sys.argv[1], Path(sys.argv[2])
    tensors = {"gradient": gradient, "tuned": tuned}[task](place)
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, place / f"{task}-{world().rank}.safetensors"
    )
    leave()
    if int(os.environ["WORLD_SIZE"]) > 1:
        end(0)
