"""The state of a training in one file, replaced as a whole: a killed run that resumes ends with the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from llmemb_bench.base import progress
from llmemb_bench.base.folders import remove
from llmemb_bench.processes.world import world

BEST = "best."
"""What the names of the best weights begin with in the file."""


def save(path: Path, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write state and tensors with their checksum under a temporary name, then rename; of several processes the first
    one does."""
    if not world().is_first:
        return
    part = path.with_name(f"{path.name}.part")
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    encoded = json.dumps(state)
    try:
        save_file(whole, part, metadata={"state": encoded, "sha256": _checksum(encoded, whole)})
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What was saved last, or None: where nothing was, and where it was damaged since, which is said."""
    here = world()
    found = _read(path) if here.is_first else None
    if not here.agreed(found is not None):
        return None
    return found or _read(path)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    if not os.path.lexists(path):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            encoded = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        if encoded["sha256"] == _checksum(encoded["state"], tensors):
            return json.loads(encoded["state"]), tensors
        reason = "its bytes differ from those written"
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0]
    progress.alert(f"{path}: is damaged ({reason}); removed, and its work is done again")
    remove(path)
    return None


def _checksum(state: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the state and of every tensor's name, form and bytes."""
    found = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


class Resumable:
    """What a long training needs to resume after a kill: its state, its tensors, and the best weights so far."""

    def __init__(self, file: Path | None, seconds: float) -> None:
        """Kept in `file`, if any, at most every so many seconds."""
        self.file, self.seconds = file, seconds
        self.best: dict[str, Tensor] = {}
        self._saved = time.monotonic()

    def remember(self, weights: Mapping[str, Tensor]) -> None:
        """Record the current weights as the best so far."""
        self.best = {name: weight.detach().clone() for name, weight in weights.items()}

    def is_due(self) -> bool:
        """Whether it is time to save the state: by the first process's clock, so that all agree."""
        return self.file is not None and world().agreed(time.monotonic() - self._saved >= self.seconds)

    def keep(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write state, tensors and the best weights; a kill at any moment leaves this file or the one before."""
        if self.file is not None:
            save(self.file, state, {**tensors, **{f"{BEST}{name}": weight for name, weight in self.best.items()}})
        self._saved = time.monotonic()

    def resume(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """State and tensors that a killed run left; None: nothing, or nothing whole."""
        found = load(self.file) if self.file else None
        if found is None:
            return None
        state, tensors = found
        own = {name: tensor for name, tensor in tensors.items() if not name.startswith(BEST)}
        self.best = {name.removeprefix(BEST): tensors[name] for name in tensors.keys() - own.keys()}
        return state, own


def trained(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and weights that are trained."""
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
