"""Decoder language model (LLaMA, Qwen, Mistral, SmolLM, ...) by hub id, folder or .gguf file: the paper's encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from llmemb_bench.contracts import Tokens
from llmemb_bench.errors import SpecError
from llmemb_plugins.encoders._tiny import write_llama
from llmemb_plugins.encoders._transformer import (
    Ids,
    Real,
    TransformerConfig,
    TransformerEncoder,
    at_last_real,
    mean_of_real,
    padded_on_the_right,
)


class CausalLmConfig(TransformerConfig):
    """Settings of `causal_lm`."""

    pooling: Literal["mean", "last", "eos"] = "mean"
    """Mean of the real tokens (paper's `avg`), the last one's state, or that of an end-of-text token put behind it."""


class CausalLm(TransformerEncoder):
    """Pooled states after the final norm (LLMEmb code, llm/llama.py), not normalised."""

    config: CausalLmConfig

    def __init__(self, config: CausalLmConfig, *, device: str = "cpu") -> None:
        super().__init__(config, device=device)
        if config.pooling == "eos" and self.tokenizer.eos_token_id is None:
            raise SpecError(
                f"the tokenizer of '{config.checkpoint.text}' has no end-of-text token",
                where="embeddings.encoder.pooling",
                fix="pooling: last, or mean",
            )

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        tokens = super().tokenize(texts)
        if self.config.pooling != "eos":
            return tokens
        end, longest = self.tokenizer.eos_token_id, self.max_tokens
        return Tokens(tuple((*ids[:longest], end) for ids in tokens.ids), tokens.pad)

    def attention_mask(self, real: Real) -> Real | None:
        return None  # padding stands behind every real token, where no causal model looks

    def forward(self, ids: Ids, real: Real, seeds: Sequence[int] | None = None) -> Float[Tensor, "batch text_dim"]:
        ids, real = padded_on_the_right(ids, real)
        states = self.hidden(ids, real, seeds)
        pool = mean_of_real if self.config.pooling == "mean" else at_last_real
        return pool(states, real)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        return {"checkpoint": str(write_llama(folder)), "lora": {"rank": 2}}
