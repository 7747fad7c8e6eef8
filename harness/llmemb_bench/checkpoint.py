"""The state of a training in one file, replaced as a whole: a killed run that goes on ends with the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from llmemb_bench.errors import DataError
from llmemb_bench.world import world


def save(path: Path, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write state and tensors under a temporary name, then rename; of several processes the first one does."""
    if not world().is_first:
        return
    part = path.with_name(f"{path.name}.part")
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(whole, part, metadata={"state": json.dumps(state)})
    part.replace(path)


def load(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What was saved last, or None; a DataError where the file was damaged since."""
    if not world().agreed(path.exists()):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            return state, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"cannot be read: {reason}", where=str(path), fix="delete it to start afresh") from error


def trained(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and weights that training moves."""
    return ((f"{prefix}.{name}", weight) for name, weight in module.named_parameters() if weight.requires_grad)


def optimizer_tensors(optimizer: torch.optim.Optimizer, name: str = "optimizer") -> dict[str, Tensor]:
    """The optimiser's state by number of weight and name."""
    return {
        f"{name}.{number}.{kind}": tensor if isinstance(tensor, Tensor) else torch.tensor(tensor)
        for number, held in optimizer.state_dict()["state"].items()
        for kind, tensor in held.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], name: str = "optimizer") -> None:
    """Put back what `optimizer_tensors` gave."""
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        if key.startswith(f"{name}."):
            _, number, kind = key.split(".", 2)
            is_count = tensor.ndim == 0 and not tensor.is_floating_point()  # some optimisers count in Python
            state.setdefault(int(number), {})[kind] = tensor.item() if is_count else tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
