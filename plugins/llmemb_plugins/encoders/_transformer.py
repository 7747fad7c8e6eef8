"""What `causal_lm` and `sentence_encoder` share: tokens, hidden states, masked pooling, tuning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from llmemb_bench.base.errors import SpecError
from llmemb_bench.contracts import TextEncoder, Tokens
from llmemb_bench.processes.sharding import shard
from llmemb_bench.processes.world import world
from llmemb_bench.registry.config import MACHINE, Checkpoint, Config, SpecPath
from llmemb_plugins.encoders import _adapters, _tuning
from llmemb_plugins.encoders._checkpoints import facts_of, load
from llmemb_plugins.encoders._dropout import TextDropout, replace_dropout
from llmemb_plugins.encoders._fit import fit, refuse_unknown
from llmemb_plugins.encoders._tuning import LoraSettings

Ids = Int[Tensor, "batch len"]
Real = Bool[Tensor, "batch len"]
States = Float[Tensor, "batch len text_dim"]
Pooled = Float[Tensor, "batch text_dim"]


class TransformerConfig(Config):
    """Settings of every transformer encoder."""

    checkpoint: Checkpoint
    """Hub id; `package:NAME` for weights inside an installed package; a path (starting with `.`, `/`, `~` or
    `${env:NAME}`) of a model folder or a .gguf file."""
    revision: str | None = None
    """Commit of a hub id, which needs one, because authors move branches."""
    max_tokens: Annotated[int, Field(ge=1)] = 256
    """Longest text in tokens; a longer one loses its last attributes, then words of the first."""
    prefix: str = ""
    """Put before every text, for models that were trained with one (E5: `passage: `)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the base's weights; vectors, losses and trained weights are float32 in any case."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """Implementation of attention; absent: transformers' choice."""
    gradient_checkpointing: Annotated[bool, MACHINE] = False
    """Keep one state a layer in training and compute the rest again: less memory, a third more time."""
    four_bit: bool = False
    """Hold the base in 4 bits (NF4, QLoRA); needs the extra `four_bit`."""
    lora: LoraSettings | None = None
    """What SCFT trains; absent: nothing, the weights are frozen."""
    full: bool = False
    """SCFT trains every weight instead."""
    adapter: SpecPath | None = None
    """Folder of weights that were tuned before (`llmemb-bench embed --adapter`); SCFT goes on from there."""
    pooling: str = "mean"
    """How the states of a text become one vector."""
    instruction: Literal["pool", "leave_out"] = "pool"
    """Whether the tokens that all texts begin with (`prefix` and dataset.instruction) are pooled like the others
    (code), or only read: what is the same in every item is then not averaged in (INSTRUCTOR, Su et al. 2023)."""
    trust_remote_code: bool = False
    """Run the checkpoint's own code; takes --trust-remote-code on the command line too."""

    @model_validator(mode="after")
    def _consistent(self) -> TransformerConfig:
        if self.checkpoint.is_hub_id and self.revision is None:
            if meant := self.checkpoint.folder_meant():
                raise ValueError(f"'{self.checkpoint.text}' means one of the hub; for the folder, checkpoint: {meant}")
            raise ValueError("should have a revision beside a hub id: a commit, because branches move (main does)")
        if self.revision is not None and not self.checkpoint.is_hub_id:
            raise ValueError("should have no revision: the checkpoint is not a hub id")
        if self.full and (self.lora or self.four_bit):
            raise ValueError("should have one of full, or lora (with or without four_bit)")
        if self.adapter and not (self.full or self.lora):
            raise ValueError("should have lora (or full) as the adapter was tuned with")
        return self


class TransformerEncoder(TextEncoder):
    """A Hugging Face model without its head, pooled by mask."""

    config: TransformerConfig

    def __init__(self, config: TransformerConfig, *, device: str = "cpu") -> None:
        super().__init__(config, device=device)
        stored = torch.float32 if config.full else getattr(torch, config.dtype)  # small steps are lost in bfloat16
        self.tokenizer, model = load(config, stored, self.device)
        self._base_facts = facts_of(config)
        self._begins: dict[str, tuple[int, ...]] = {}
        self.max_tokens = config.max_tokens
        self.fit = fit(config, self.tokenizer, model)
        model.config.use_cache = False  # keys and values of the past serve generation only
        model.requires_grad_(config.full)
        self.recomputes = config.gradient_checkpointing
        if self.recomputes:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # the name that every supported transformers knows
                model.gradient_checkpointing_enable({"use_reentrant": False})
        self.model = _tuning.with_lora(model, config.lora) if config.lora else model
        self._draws = replace_dropout(self.model, _tuning.NAME)
        self.drops = any(isinstance(module, TextDropout) for module in self.model.modules())
        if world().sharded:
            shard(self.model, _layers(self.model), device)
            # Not by a trial, which would leave the outermost weights whole.
            self.text_dim = model.config.get_text_config().hidden_size
        else:
            if not config.four_bit:
                self.to(self.device)
            self.text_dim = self._tried().shape[-1]
        if config.adapter:
            self.load_tuned(config.adapter.resolve())

    def _tried(self) -> States:
        """States of two texts that differ in their last token; a model that cannot read texts is a SpecError."""
        ids = torch.tensor([[1, 0], [1, 2]])
        try:
            with torch.no_grad():
                return self.hidden(ids, torch.ones_like(ids, dtype=torch.bool))
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError) as error:
            reason = (str(error).splitlines() or [repr(error)])[0]
            raise SpecError(
                f"'{self.config.checkpoint.text}' does not read text as an encoder needs it: {reason}",
                where="embeddings.encoder.checkpoint",
                fix="name a decoder (causal_lm), or a model like BERT (sentence_encoder)",
            ) from error

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        if not texts:
            return Tokens((), self.fit.pad)
        prefixed = [self.config.prefix + text for text in texts]
        ids = self.tokenizer(prefixed, truncation=True, max_length=self.max_tokens + 2)["input_ids"]
        read = [self.framed(tuple(one)) or (self.fit.filler,) for one in ids]
        for one, text in zip(read, texts, strict=True):
            refuse_unknown(one, self.fit.rows, text)
        return Tokens(tuple(one[: self.max_tokens + 1] for one in read), self.fit.pad)

    def framed(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """What the model reads of a tokenizer's ids: without one special token at most, with others after it."""
        return ids

    def forward(self, ids: Ids, real: Real, seeds: Sequence[int] | None = None) -> Pooled:
        ids, real = padded_on_the_right(ids, real)
        states = self.hidden(ids, real, seeds)
        pool: Pool = POOLINGS[self.config.pooling]
        return pool(states, self.pooled(ids, real).to(states.device))

    def pooled(self, ids: Ids, real: Real) -> Real:
        """Which tokens count: all real ones, or those behind the instruction where a text has any there."""
        if self.config.instruction == "pool":
            return real
        begin = torch.tensor(self._begin(self.instruction), device=ids.device)[: ids.shape[1]]
        is_begin = torch.zeros_like(real)
        is_begin[:, : len(begin)] = (ids[:, : len(begin)] == begin).cumprod(1).bool()
        behind = real & ~is_begin
        return torch.where(behind.any(1, keepdim=True), behind, real)

    def _begin(self, instruction: str) -> tuple[int, ...]:
        """Ids that every text begins with, and perhaps some that stand behind a text."""
        if instruction not in self._begins:
            ids = self.tokenizer(self.config.prefix + instruction + "\n")["input_ids"]
            self._begins[instruction] = self.framed(tuple(ids))
        return self._begins[instruction]

    def hidden(self, ids: Ids, real: Real, seeds: Sequence[int] | None = None) -> States:
        """float32 last hidden states of texts that are padded on the right."""
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self._mixed)
        self._draws.set(seeds, real)
        with autocast:
            out = self.model(input_ids=ids.to(self.device), attention_mask=self.attention_mask(real))
        states: Tensor = out.last_hidden_state
        return states.float()

    @property
    def _mixed(self) -> bool:
        return self.config.dtype == "bfloat16" and (self.config.full or self.config.lora is not None)

    def attention_mask(self, real: Real) -> Ids | None:
        """None where nothing is padded: attention is faster without a mask."""
        return None if real.all() else real.long().to(self.device)

    def facts(self) -> dict[str, Any]:
        config = self.config
        return self._base_facts | {
            "dtype": config.dtype,
            "four_bit": config.four_bit,
            "max_tokens": config.max_tokens,
            "prefix": config.prefix,
            "padding": "right",
            "attention": self.model.config._attn_implementation,
            "pooling": config.pooling,
            "instruction": config.instruction,
            "lora": config.lora and config.lora.model_dump(),
            "full": config.full,
            "adapter_sha256": config.adapter and _tuning.hash_of(config.adapter.resolve()),
        }

    def save_tuned(self, folder: Path) -> None:
        _tuning.save(self.model, self.config.lora is not None, self._base_facts, folder)

    def load_tuned(self, folder: Path) -> None:
        _adapters.load(self.model, self.config.lora is not None, self._base_facts, folder)


def _layers(model: nn.Module) -> list[nn.Module]:
    """The model's repeated blocks: lists of modules of one type."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return [block for blocks in lists for block in blocks if any(True for _ in block.parameters())]


def padded_on_the_right(ids: Ids, real: Real) -> tuple[Ids, Real]:
    """The same texts with their tokens first, so that no model has to be told where a text begins."""
    order = (~real).long().argsort(dim=1, stable=True)
    return ids.gather(1, order), real.gather(1, order)


def mean(states: States, pooled: Real) -> Pooled:
    """Mean over the tokens that count."""
    return _weighted(states, pooled.to(states))


def weighted_mean(states: States, pooled: Real) -> Pooled:
    """The k-th of the tokens that count has k times the first one's weight (the position-weighted mean of SGPT,
    Muennighoff 2022): of a causal model, later tokens have read more."""
    return _weighted(states, (pooled.cumsum(1) * pooled).to(states))


def _weighted(states: States, weights: Float[Tensor, "batch len"]) -> Pooled:
    weights = weights[..., None]  # [batch, len, 1]
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def first(states: States, pooled: Real) -> Pooled:
    """State of the first token that counts."""
    return _at(states, pooled.int().argmax(1))


def last(states: States, pooled: Real) -> Pooled:
    """State of the last token that counts."""
    return _at(states, (pooled.cumsum(1) * pooled).argmax(1))


def _at(states: States, places: Int[Tensor, "batch"]) -> Pooled:
    return states[torch.arange(len(states), device=states.device), places]


Pool = Callable[[States, Real], Pooled]
POOLINGS: Mapping[str, Pool] = {
    "mean": mean,
    "weighted_mean": weighted_mean,
    "first": first,
    "cls": first,
    "last": last,
    "eos": last,
}
"""From states and the tokens that count to vectors, by what settings call it."""
