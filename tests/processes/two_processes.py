"""What a process of several does in test_processes.py: `python two_processes.py TASK FOLDER`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from llmemb_bench.contracts import TextEncoder
from llmemb_bench.processes.world import end, leave, world
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.together import filling_together
from llmemb_bench.testing.case import small_items
from llmemb_bench.text.chunks import ChunkSize
from llmemb_bench.text.encoding import encode_items
from llmemb_bench.text.gradients import backward_in_chunks
from llmemb_bench.text.scft import tune
from llmemb_bench.text.views import two_views
from tests.helpers.small_models import SCFT, augmentation, loss, shared_encoder, telling_items


def assert_is_spread(made: TextEncoder) -> None:
    """Of every frozen weight this process holds its half only."""
    frozen = [weight for weight in made.parameters() if not weight.requires_grad]
    assert frozen
    assert all(isinstance(weight, DTensor) and weight.to_local().numel() < weight.numel() for weight in frozen)


def gradient(folder: Path) -> dict[str, torch.Tensor]:
    """Of one batch with dropout, in small chunks: by soft targets, and by a loss over features."""
    found = {}
    for name in ("soft_clip", "vicreg"):
        for weight, gradient in gradient_of(name, folder).items():
            found[f"{name} {weight}"] = gradient
    return found


def gradient_of(name: str, folder: Path) -> dict[str, torch.Tensor]:
    """What one loss leaves in the weights of the encoder, and in its own."""
    made, items = shared_encoder(folder), small_items(11)
    if world().sharded:
        assert_is_spread(made)
    views = two_views(items, range(11), [augmentation()], np.random.default_rng(0))
    tokens, objective = made.tokenize([items.text(view) for view in views]), loss(name)
    backward_in_chunks(made.train(), tokens, range(22), lambda vectors: objective(*vectors.chunk(2)), ChunkSize(60))
    weights = [*made.named_parameters(), *objective.named_parameters()]
    return {name: weight.grad for name, weight in weights if weight.requires_grad}


def tuned(folder: Path) -> dict[str, torch.Tensor]:
    """Vectors after a few steps: AdamW makes more of a rounding with each."""
    made, items = shared_encoder(folder), telling_items()
    tune(made, items, [augmentation()], loss(), SCFT.model_copy(update={"steps": 3}))
    return {"vectors": torch.from_numpy(encode_items(made, items))}


def main() -> None:
    """Do the task; each process writes what it has."""
    task, folder = sys.argv[1], Path(sys.argv[2])
    here = world()
    found = {"gradient": gradient, "tuned": tuned}[task](folder / "model")
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / f"{task}-{here.rank}.safetensors")

    cache = Cache(folder / "cache")
    for turn in range(2):
        with filling_together(cache, "stage", "0" * 64) as place:
            assert place is None or turn == 0
            if place is not None:
                (place / "who.json").write_text(json.dumps(here.rank))
    assert json.loads((cache.path("stage", "0" * 64) / "who.json").read_text()) == 0


if __name__ == "__main__":
    main()
    leave()
    if int(os.environ["WORLD_SIZE"]) > 1:
        end(0)
