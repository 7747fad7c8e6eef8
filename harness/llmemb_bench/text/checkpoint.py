"""The state of tuning in one file, replaced as a whole: a killed run that goes on ends with the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from llmemb_bench.world import world

NAME = "tuning.safetensors"


@dataclass
class State:
    """How far tuning is; everything drawn at a step depends on the seed and the step alone."""

    step: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    best_recall: float = -1.0
    measured_since_best: int = 0


def save(folder: Path, state: State, tensors: Mapping[str, Tensor]) -> None:
    """Write state and tensors under a temporary name, then rename."""
    if not world().is_first:
        return
    part = folder / f"{NAME}.part"
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(whole, part, metadata={"state": json.dumps(asdict(state))})
    part.replace(folder / NAME)


def load(folder: Path) -> tuple[State, dict[str, Tensor]] | None:
    """What was saved last, or None."""
    path = folder / NAME
    if not world().agreed(path.exists()):
        return None
    with safe_open(path, framework="pt") as file:
        state = State(**json.loads(file.metadata()["state"]))
        return state, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping


def trained(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and weights that training moves."""
    return ((f"{prefix}.{name}", weight) for name, weight in module.named_parameters() if weight.requires_grad)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by number of weight and name."""
    return {
        f"optimizer.{number}.{name}": tensor
        for number, held in optimizer.state_dict()["state"].items()
        for name, tensor in held.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".", 2)
            state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
