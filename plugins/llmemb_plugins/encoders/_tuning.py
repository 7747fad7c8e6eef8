"""Which weights of a language model SCFT trains, and how they are saved: LoRA, DoRA, or all of them."""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from llmemb_bench.base.errors import Problem, SpecError
from llmemb_bench.base.folders import fingerprint
from llmemb_bench.base.hashing import digest
from llmemb_bench.processes.world import world
from llmemb_bench.registry.config import Config

ADAPTER, ALL, BASE = "adapter_model.safetensors", "weights.safetensors", "base.json"
SETTINGS = "adapter_config.json"
LORA = ("lora_A", "lora_B")
TARGETS = "embeddings.encoder.lora.targets"
NAME = "default"
"""What peft calls an adapter."""


class LoraSettings(Config):
    """Low-rank adaptation (Hu et al. 2022); only these weights are trained."""

    rank: Annotated[int, Field(ge=1)] = 8
    """Rank of the update (paper: 8)."""
    alpha: Annotated[int, Field(ge=1)] = 32
    """Scale of the update, relative to the rank (paper: 32)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout before the update (paper: 0.1)."""
    targets: list[str] | None = None
    """Names of the linear layers that get one, or the ends of such names; absent: all of them (paper: the seven
    projections of LLaMA)."""
    dora: bool = False
    """Train length and direction of a weight apart (DoRA, Liu et al. 2024)."""

    @field_validator("targets", mode="before")
    @classmethod
    def _named(cls, targets: object) -> object:
        if targets is not None and not isinstance(targets, list):
            raise ValueError("should be a list of names of layers; leave it out for all linear layers")
        if targets == []:
            raise ValueError("should name a layer at least; leave it out for all linear layers")
        return targets


def with_lora(model: Any, lora: LoraSettings) -> Any:
    """The model with trainable low-rank updates; targets that it has not, or not as linear layers, are a SpecError."""
    from peft import LoraConfig, TaskType, get_peft_model

    _refuse_targets(model, lora.targets)
    _refuse_rank(model, lora.rank)
    settings = LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets or "all-linear",
        use_dora=lora.dora,
    )
    with warnings.catch_warnings():
        # peft asks transformers for something that transformers renamed; no business of a user's.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", ".*fan_in_fan_out")  # GPT-2's layers are stored the other way round
        try:
            return get_peft_model(model, settings)
        except (ValueError, TypeError, NotImplementedError) as error:  # a kind of layer that peft cannot update
            raise SpecError(
                f"peft refuses: {str(error).splitlines()[0]}", where=TARGETS, fix="other targets"
            ) from error


def tunable(model: Any) -> list[str]:
    """Full names of the linear layers that vectors depend on (none does on a pooler), updated ones among them, in the
    order of the model."""
    from transformers.pytorch_utils import Conv1D

    found = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    return [name.removesuffix(".base_layer") for name in found if not {"pooler", *LORA} & set(name.split("."))]


def short_names(layers: Iterable[str]) -> list[str]:
    """What a spec calls layers: the last parts of their names, each once."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in layers))


def is_target(layer: str, target: str) -> bool:
    """Whether a target means this layer: by its full name, or the last parts of it (as peft reads a list)."""
    return layer == target or layer.endswith(f".{target}")


def _refuse_targets(model: Any, targets: Sequence[str] | None) -> None:
    layers = tunable(model)
    if not layers:
        raise SpecError("the model has no linear layer to tune", where="embeddings.encoder.lora", fix="full: true")
    others = {name for name, _ in model.named_modules()} - set(layers)
    problems = []
    for target in targets or ():
        if not any(is_target(layer, target) for layer in layers):
            is_there = any(is_target(name, target) for name in others)
            finding = "is not a linear layer that a vector depends on" if is_there else "is not a layer of this model"
            problems.append(Problem(TARGETS, f"'{target}' {finding}", _way_out(target, short_names(layers))))
    if problems:
        raise SpecError.of(problems)


def _refuse_rank(model: Any, rank: int) -> None:
    """A rank beyond the widest layer adds nothing but memory."""
    layers = set(tunable(model))
    widest = max(max(_sides(module)) for name, module in model.named_modules() if name in layers)
    if rank > widest:
        raise SpecError(
            f"should be {widest} at most, the width of the widest layer, not {rank}",
            where="embeddings.encoder.lora.rank",
            fix="rank: 8, as in the paper",
        )


def _sides(layer: Any) -> tuple[int, ...]:
    """Inputs and outputs; weights of four bits lie in another shape."""
    return (layer.in_features, layer.out_features) if isinstance(layer, nn.Linear) else tuple(layer.weight.shape)


def _way_out(target: str, names: list[str]) -> str:
    close = difflib.get_close_matches(target.lower(), names, n=1, cutoff=0.7)
    guess = f"did you mean '{close[0]}'? " if close else ""
    return f"{guess}its layers are {', '.join(names)}; without 'targets' all are tuned"


def save(model: Any, is_lora: bool, facts: dict[str, Any], folder: Path) -> None:
    """Write the trained weights and what they belong to; all processes take part, the first one writes."""
    whole = {name: _whole(weight) for name, weight in model.named_parameters() if weight.requires_grad}
    if not world().is_first:
        return
    if is_lora:
        settings = model.peft_config[NAME]
        if isinstance(settings.target_modules, set):  # in an order of its own in every process
            settings.target_modules = sorted(settings.target_modules)
        # LoRA touches no embedding, and looking whether the vocabulary grew would ask the hub.
        model.save_pretrained(str(folder), save_embedding_layers=False)
    else:
        save_file(whole, folder / ALL)
    (folder / BASE).write_text(json.dumps(facts, indent=1))


def _whole(weight: nn.Parameter) -> Tensor:
    tensor = weight.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu().contiguous()


def hash_of(folder: Path) -> str:
    """One sha256 over the files of weights in a folder."""
    return digest([fingerprint(path) for path in sorted(folder.glob("*.safetensors"))])
