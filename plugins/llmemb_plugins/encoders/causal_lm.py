"""Decoder language model (LLaMA, Qwen, Mistral, SmolLM, ...) by hub id, folder or .gguf file: the paper's encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from llmemb_bench.base.errors import SpecError
from llmemb_bench.processes.world import world
from llmemb_plugins.encoders._fit import has_row
from llmemb_plugins.encoders._tiny import write_llama
from llmemb_plugins.encoders._transformer import (
    Real,
    TransformerConfig,
    TransformerEncoder,
)


class CausalLmConfig(TransformerConfig):
    """Settings of `causal_lm`."""

    pooling: Literal["mean", "weighted_mean", "last", "eos"] = "mean"
    """Mean of all tokens that the model reads (code: `avg`), or with weights that rise with a token's position (SGPT);
    the last one's state (code: `last`), or that of the end-of-text token, which `eos` then puts after every text. The
    first one has read nothing yet."""
    bos: Literal["keep", "leave_out"] = "keep"
    """The beginning token that many tokenizers put before a text: read and pooled, or left out (code). An empty text
    is one token in any case."""
    eos: Literal["keep", "append"] = "keep"
    """The end-of-text token: as the tokenizer has it, which seldom puts one, or after every text once (code); it is
    pooled like any other and counts among `max_tokens`."""

    @property
    def ends(self) -> bool:
        """Whether every text ends in an end-of-text token."""
        return self.eos == "append" or self.pooling == "eos"


class CausalLm(TransformerEncoder):
    """Pooled states after the final norm (LLMEmb code, llm/llama.py), not normalised."""

    config: CausalLmConfig

    def __init__(self, config: CausalLmConfig, *, device: str = "cpu") -> None:
        super().__init__(config, device=device)
        if config.ends and not has_row(self.tokenizer.eos_token_id, self.fit.rows):
            raise _without_end(config)
        if not world().sharded:
            self._refuse_bidirectional()

    def framed(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """As published: no beginning and one end (LLMEmb code, llm/data_processor/llama.py); each has its setting."""
        begin, end = (self.tokenizer.bos_token_id,), (self.tokenizer.eos_token_id,)
        if self.config.bos == "leave_out" and ids[:1] == begin:
            ids = ids[1:]
        return (*ids, *end) if self.config.ends and ids[-1:] != end else ids

    def _refuse_bidirectional(self) -> None:
        """A model whose first token sees the second would see padding too: no mask stands in its way here."""
        states = self._tried()[:, 0]
        rounding = 1e-3 if self.config.dtype == "float32" and not self.config.four_bit else 5e-2
        if (states[0] - states[1]).abs().max() > rounding * states.abs().max():
            raise SpecError(
                f"'{self.config.checkpoint.text}' is not a decoder: its tokens see those after them",
                where="embeddings.encoder.use",
                fix="use: sentence_encoder",
            )

    def attention_mask(self, real: Real) -> None:
        return  # padding follows every real token, where no causal model looks

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"bos": self.config.bos, "eos": "append" if self.config.ends else "keep"}

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        return {"checkpoint": str(write_llama(folder)), "lora": {"rank": 2}}


def _without_end(config: CausalLmConfig) -> SpecError:
    setting, fix = ("eos", "eos: keep") if config.eos == "append" else ("pooling", "pooling: last, or mean")
    message = f"the tokenizer of '{config.checkpoint.text}' has no end-of-text token"
    return SpecError(message, where=f"embeddings.encoder.{setting}", fix=fix)
