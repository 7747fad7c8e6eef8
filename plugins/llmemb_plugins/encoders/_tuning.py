"""Which weights of a language model SCFT trains, and how they are saved: LoRA, DoRA, or all of them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from llmemb_bench.cache import fingerprint
from llmemb_bench.config import Config
from llmemb_bench.errors import DataError
from llmemb_bench.spec.resolve import digest
from llmemb_bench.world import world

ADAPTER, ALL, BASE = "adapter_model.safetensors", "weights.safetensors", "base.json"
SETTINGS = "adapter_config.json"
DECISIVE = ("r", "lora_alpha", "use_dora", "use_rslora", "rank_pattern", "alpha_pattern")
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
    """Names of the layers that get one; absent: all linear layers (paper: the seven projections of LLaMA)."""
    dora: bool = False
    """Train length and direction of a weight apart (DoRA, Liu et al. 2024)."""


def with_lora(model: Any, lora: LoraSettings) -> Any:
    """The model with trainable low-rank updates."""
    from peft import LoraConfig, TaskType, get_peft_model

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
        return get_peft_model(model, settings)


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


def load(model: Any, is_lora: bool, facts: dict[str, Any], folder: Path) -> None:
    """Read trained weights back; another base's, empty or untrained ones are a DataError."""
    path = folder / (ADAPTER if is_lora else ALL)
    if not path.is_file():
        raise DataError(
            "is no adapter of this encoder", where=str(folder), fix="does it have the same 'lora:' or 'full:'?"
        )
    _refuse_other_base(folder, facts)
    try:
        weights = load_file(path)
        if is_lora:
            _refuse_empty(weights, path)
            _refuse_other_settings(model, folder)
        lost = _put(model, weights, is_lora)
    except (RuntimeError, ValueError, KeyError, OSError, SafetensorError) as error:
        reason = str(error).strip().splitlines()
        raise DataError(f"cannot be read: {reason[-1] if reason else error!r}", where=str(path)) from error
    if lost:
        raise DataError(
            f"belongs to another base: {len(lost)} weights do not fit, the first is {lost[0]}", where=str(path)
        )


def _put(model: Any, weights: dict[str, Tensor], is_lora: bool) -> list[str]:
    """Load weights; returns the names of those that do not fit."""
    if not is_lora:
        outcome = model.load_state_dict(weights, strict=False)
        return [*outcome.missing_keys, *outcome.unexpected_keys]
    from peft import set_peft_model_state_dict

    outcome = set_peft_model_state_dict(model, weights)
    return [name for name in outcome.missing_keys if "lora_" in name] + list(outcome.unexpected_keys)


def _refuse_other_settings(model: Any, folder: Path) -> None:
    """The scale of an update stands in its settings, not in its weights."""
    if not (folder / SETTINGS).is_file():
        raise DataError(f"has no {SETTINGS}", where=str(folder), fix="copy the whole folder")
    given, here = json.loads((folder / SETTINGS).read_text()), model.peft_config[NAME].to_dict()
    for name in DECISIVE:
        if given.get(name) != here[name]:
            raise DataError(
                f"was tuned with {name} {given.get(name)}, the spec has {here[name]}",
                where=str(folder / SETTINGS),
                fix="give embeddings.encoder.lora the settings that it was tuned with",
            )


def hash_of(folder: Path) -> str:
    """One sha256 over the files of weights in a folder."""
    return digest([fingerprint(path) for path in sorted(folder.glob("*.safetensors"))])


def _refuse_other_base(folder: Path, facts: dict[str, Any]) -> None:
    if not (folder / BASE).is_file():
        return  # made elsewhere: the names and shapes of its weights must do
    try:
        base = json.loads((folder / BASE).read_text())
    except ValueError as error:
        raise DataError("cannot be read", where=str(folder / BASE), fix="copy the whole folder again") from error
    if base["weights_sha256"] != facts["weights_sha256"]:
        raise DataError(
            f"belongs to another base: it was tuned on {base['checkpoint']} ({base['weights_sha256'][:12]}), this is "
            f"{facts['checkpoint']} ({facts['weights_sha256'][:12]})",
            where=str(folder),
            fix="name the checkpoint and revision that it was tuned on",
        )


def _refuse_empty(weights: dict[str, Tensor], path: Path) -> None:
    """Adapters get saved empty, or never trained: both load without a word and give the base model."""
    ups = {name: tensor for name, tensor in weights.items() if "lora_B" in name}
    if not ups or any(tensor.numel() == 0 for tensor in weights.values()):
        raise DataError(f"is an empty adapter of {path.stat().st_size} bytes", where=str(path), fix="tune again")
    if not any(tensor.any() for tensor in ups.values()):
        raise DataError("is an adapter that was never trained: every B matrix is zero", where=str(path))
