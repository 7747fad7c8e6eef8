"""Tuned weights from disk: found, told from everything else that a folder may hold, and put into their model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from llmemb_bench.base import progress
from llmemb_bench.base.errors import BenchError, DataError, MissingError
from llmemb_plugins.encoders._checkpoints import SHOWN, held_in
from llmemb_plugins.encoders._tuning import (
    ADAPTER,
    ALL,
    BASE,
    NAME,
    SETTINGS,
    is_target,
    short_names,
    tunable,
)

PICKLED = "adapter_model.bin"
INSIDE = "base_model.model."
"""What peft puts before the name of a layer."""
COMPARED = {"r", "lora_alpha", "use_dora"}
"""Settings of peft that a spec has too."""
HARMLESS = {
    *(
        "auto_mapping",
        "base_model_name_or_path",
        "inference_mode",
        "peft_type",
        "peft_version",
        "revision",
        "task_type",
    ),
    *("exclude_modules", "layers_pattern", "layers_to_transform", "modules_to_save", "target_modules"),
    *("ensure_weight_tying", "fan_in_fan_out", "lora_dropout", "megatron_config", "megatron_core", "qalora_group_size"),
    *("corda_config", "eva_config", "init_lora_weights", "loftq_config", "lora_ga_config"),
    *("lorap_emb_lr", "lorap_lr_ratio"),
}
"""Settings that no vector depends on beside the weights and their names: where an adapter is from, which layers it
has, how it was trained, and how it began, which `_refuse_changed_base` looks at."""
BEGINNINGS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
"""Values of `init_lora_weights` that leave the base as it is."""
CONVERT = "save it with peft's path_initial_model_for_weight_conversion"
MERGE = "merge it into its base (peft: merge_and_unload, then save_pretrained), and name that as checkpoint"


def load(model: Any, is_lora: bool, facts: dict[str, Any], folder: Path) -> None:
    """Read trained weights back; none, another base's, empty or untrained ones are an error."""
    path = _weights_in(folder, is_lora)
    _refuse_other_base(folder, facts)
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot be read: {_reason(error)}", where=str(path), fix="copy the whole folder") from error
    if is_lora:
        _refuse_empty(weights, path)
        weights = _without_head(model, _as_saved(weights), folder)
        _refuse_other_settings(model, weights, folder)
    _refuse_unfitting(_own(model, is_lora), weights, path)
    try:
        _put(model, weights, is_lora)
    except (RuntimeError, ValueError, KeyError) as error:
        raise DataError(f"cannot be read: {_reason(error)}", where=str(path)) from error


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else repr(error)


def _weights_in(folder: Path, is_lora: bool) -> Path:
    """The file of weights, or what there is in its place."""
    wanted, other = (ADAPTER, ALL) if is_lora else (ALL, ADAPTER)
    if not (folder / wanted).is_file():
        raise _not_found(folder, wanted, other)
    return folder / wanted


def _not_found(folder: Path, wanted: str, other: str) -> BenchError:
    where, use = str(folder), "embeddings.encoder.adapter"
    if not folder.exists():
        return MissingError(f"no adapter at {where}", where=use, fix=f"name a folder that holds {wanted}")
    if not folder.is_dir():
        return DataError("is a file", where=where, fix=f"name the folder that contains it: {use}: {folder.parent}")
    if (folder / other).is_file():
        theirs, ours = ("lora:", "full: true") if other == ADAPTER else ("full: true", "lora:")
        finding, fix = f"was tuned with '{theirs}'; the spec has '{ours}'", f"set {theirs} for the encoder"
    elif (folder / PICKLED).is_file():
        finding, fix = f"holds {PICKLED}, a pickle, which could run code when it is read", _conversion(folder)
    elif (folder / "config.json").is_file():
        finding, fix = "is not an adapter for this encoder but a whole model", "name it as checkpoint"
    elif inner := sorted(path.parent for path in folder.glob(f"*/{wanted}")):
        finding, fix = (
            f"is not an adapter for this encoder, but holds {len(inner)}",
            f"name one of them: {use}: {inner[-1]}",
        )
    else:
        finding = f"is not an adapter for this encoder: it holds {held_in(folder)}"
        fix = f"name a folder that holds {wanted}"
    return DataError(finding, where=where, fix=fix)


def _conversion(folder: Path) -> str:
    """Torch reads tensors alone from a pickle if told so."""
    source, target = str(folder / PICKLED), str(folder / ADAPTER)
    program = (
        "import torch; from safetensors.torch import save_file; "
        f"read = torch.load({source!r}, weights_only=True, map_location='cpu'); "
        f"save_file({{name: one.contiguous() for name, one in read.items()}}, {target!r})"
    )
    return f'python -c "{program}"'


def _object_in(path: Path) -> dict[str, Any]:
    """A JSON object of a file, whatever lies there."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError("cannot be read", where=str(path), fix="copy the whole folder again") from error
    if not isinstance(read, dict):
        raise DataError("holds no JSON object", where=str(path), fix="copy the whole folder again")
    return read


def _refuse_other_base(folder: Path, facts: dict[str, Any]) -> None:
    if not (folder / BASE).is_file():
        return  # made elsewhere: the names and shapes of its weights must do
    base = _object_in(folder / BASE)
    theirs, ours = str(base.get("weights_sha256")), facts["weights_sha256"]
    if theirs != ours:
        raise DataError(
            f"belongs to another base: it was tuned on {base.get('checkpoint')} ({theirs[:12]}), this is "
            f"{facts['checkpoint']} ({ours[:12]})",
            where=str(folder),
            fix="name the checkpoint and revision that it was tuned on",
        )


def _refuse_empty(weights: dict[str, Tensor], path: Path) -> None:
    """Adapters get saved empty, or never trained: both load without a word and give the base model."""
    ups = {name: tensor for name, tensor in weights.items() if "lora_B" in name}
    if not weights or any(tensor.numel() == 0 for tensor in weights.values()):
        raise DataError(f"is an empty adapter of {path.stat().st_size} bytes", where=str(path), fix="tune again")
    if not ups:
        kinds = ", ".join(short_names(weights)[:SHOWN])
        raise DataError(f"holds no LoRA but weights called {kinds}", where=str(path), fix=MERGE)
    if not all(tensor.isfinite().all() for tensor in weights.values()):
        raise DataError("holds numbers that are not finite", where=str(path), fix="tune again, with smaller steps")
    if not any(tensor.any() for tensor in ups.values()):
        raise DataError("is an adapter that was never trained: every B matrix is zero", where=str(path))


def _as_saved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under the names that peft saves: a state_dict saved by hand has the adapter's own name in them."""
    return {INSIDE + name.removeprefix(INSIDE).replace(f".{NAME}.", "."): one for name, one in weights.items()}


def _without_head(model: Any, weights: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Weights under this model's names. One with a head for words or classes calls its layers `model.layers...`, where
    the same model without it has `layers...`; no vector depends on the head, so what was tuned of it is left out."""
    inner = model.base_model.model
    head = f"{INSIDE}{inner.base_model_prefix}."
    layers = set(_layers(weights))
    own = {name for name, _ in inner.named_modules()}
    bare = {name.removeprefix(head.removeprefix(INSIDE)) for name in layers}
    if layers & own or not bare & own:
        return weights
    kept = {INSIDE + name.removeprefix(head): one for name, one in weights.items() if name.startswith(head)}
    left = short_names(_layers({name: one for name, one in weights.items() if not name.startswith(head)}))
    more = f"; its {', '.join(left)} is left out, no vector depends on it" if left else ""
    progress.say(f"{folder}: was tuned on the model with its head; read into the same layers without it{more}")
    return kept


def _layers(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the layers that an adapter's weights belong to."""
    names = (name.removeprefix(INSIDE).partition(".lora_")[0].removesuffix(".weight") for name in weights)
    return list(dict.fromkeys(names))


def _refuse_other_settings(model: Any, weights: Mapping[str, Tensor], folder: Path) -> None:
    """The scale of an update stands in its settings, not in its weights; which layers have one, in the weights' names.
    The error says all that differs, and the settings that fit."""
    path = folder / SETTINGS
    if not path.is_file():
        raise DataError(f"has no {SETTINGS}", where=str(folder), fix="copy the whole folder")
    given, here = _object_in(path), model.peft_config[NAME].to_dict()
    _refuse_other_kind(given, path)
    theirs = _as_in_a_spec(given, _targets(model, _layers(weights), path))
    ours = _as_in_a_spec(here, _targets(model, _layers(_own(model, is_lora=True)), path))
    differing = [name for name in ours if theirs[name] != ours[name]]
    if differing:
        found, wanted = (" and ".join(f"{name} {one[name]}" for name in differing) for one in (theirs, ours))
        lora = ", ".join(f"{name}: {value}" for name, value in theirs.items() if name in ("rank", "alpha", *differing))
        raise DataError(
            f"was tuned with {found}; the spec has {wanted}",
            where=str(path),
            fix=f"embeddings.encoder.lora: {{{lora}}}" if theirs["alpha"].isdecimal() else MERGE,
        )


def _refuse_other_kind(given: Mapping[str, Any], path: Path) -> None:
    if given.get("peft_type", "LORA") != "LORA":
        raise DataError(f"is an adapter of the kind {given['peft_type']}, not LORA", where=str(path), fix=MERGE)
    if strange := _strange(given):
        raise DataError(f"was tuned with {', '.join(strange)}, which no spec has", where=str(path), fix=MERGE)
    _refuse_changed_base(given, path)


def _strange(given: Mapping[str, Any]) -> list[str]:
    """Settings that are neither known here nor switched off: what a later peft thinks of, too."""
    from peft import LoraConfig

    usual = LoraConfig().to_dict()
    return [
        name for name, value in given.items() if name not in COMPARED | HARMLESS and value and value != usual.get(name)
    ]


def _refuse_changed_base(given: Mapping[str, Any], path: Path) -> None:
    """PiSSA and its like take a part of every base weight into the adapter, which fits the rest alone."""
    begun = given.get("init_lora_weights")
    if begun not in BEGINNINGS:
        raise DataError(
            f"began with init_lora_weights {begun!r}, which changed its base",
            where=str(path),
            fix=f"{CONVERT}, or {MERGE}",
        )


def _as_in_a_spec(settings: Mapping[str, Any], targets: list[str]) -> dict[str, str]:
    """peft's settings by the words of a spec's `lora:`."""
    return {
        "rank": _number(settings.get("r")),
        "alpha": _number(settings.get("lora_alpha")),
        "dora": str(bool(settings.get("use_dora"))).lower(),
        "targets": f"[{', '.join(targets)}]",
    }


def _number(value: object) -> str:
    """8.0 is 8."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _targets(model: Any, layers: list[str], path: Path) -> list[str]:
    """The shortest `targets` that mean these layers and no others."""
    inner = model.base_model.model
    there, own = tunable(inner), {name for name, _ in inner.named_modules()}
    if strange := [name for name in layers if name not in there and not _is_pooler(name)]:
        if strange[0] in own:
            raise DataError(f"holds weights of {strange[0]}, which no lora tunes", where=str(path), fix=MERGE)
        raise DataError(
            f"belongs to another base: {len(strange)} of its layers are not in this model, the first is {strange[0]}",
            where=str(path),
            fix="name the checkpoint that it was tuned on",
        )
    meant = [name for name in there if name in set(layers)]
    short = short_names(meant)
    selected = [name for name in there if any(is_target(name, word) for word in short)]
    return short if selected == meant else meant


def _is_pooler(name: str) -> bool:
    return "pooler" in name.split(".")


def _own(model: Any, is_lora: bool) -> dict[str, Tensor]:
    """This model's tuned weights under the names that files have."""
    if not is_lora:
        return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    from peft import get_peft_model_state_dict

    return dict(get_peft_model_state_dict(model, save_embedding_layers=False))


def _refuse_unfitting(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path) -> None:
    odd = [name for name in own.keys() ^ weights.keys() if not _is_pooler(name)]
    odd += [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if odd:
        raise DataError(
            f"belongs to another base: {len(odd)} weights do not fit, the first is {min(odd)}",
            where=str(path),
            fix="name the checkpoint that it was tuned on",
        )


def _put(model: Any, weights: dict[str, Tensor], is_lora: bool) -> None:
    if not is_lora:
        model.load_state_dict(weights, strict=False)
        return
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(model, weights)
