"""Decoder language model (LLaMA, Qwen, Mistral, SmolLM, ...) by hub id, folder or .gguf file: the paper's encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor

from llmemb_plugins.encoders._tiny import write_llama
from llmemb_plugins.encoders._transformer import (
    TransformerConfig,
    TransformerEncoder,
    at_last_real,
    mean_of_real,
)


class CausalLmConfig(TransformerConfig):
    """Settings of `causal_lm`."""

    pooling: Literal["mean", "last"] = "mean"
    """Mean of the real tokens (paper's `avg`), or the last one's state."""


class CausalLm(TransformerEncoder):
    """Pooled states after the final norm (LLMEmb code, llm/llama.py), not normalised."""

    config: CausalLmConfig

    def forward(
        self, ids: Int[Tensor, "batch len"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch text_dim"]:
        states = self.hidden(ids, real)
        pool = {"mean": mean_of_real, "last": at_last_real}[self.config.pooling]
        return pool(states, real.to(states.device))

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        return {"checkpoint": str(write_llama(folder)), "lora": {"rank": 2}}
