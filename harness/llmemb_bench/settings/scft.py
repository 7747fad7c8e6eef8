"""Settings of supervised contrastive fine-tuning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmemb_bench.registry.config import MACHINE, Config, Seed
from llmemb_bench.registry.kinds import AugmentationChoice, LossChoice


class HeldOutConfig(Config):
    """How tuning is measured while it runs: a view of an item it never saw must find that item."""

    items: Annotated[int, Field(ge=0)] = 128
    """Items that are held out, at most a tenth of the catalogue (ours); 0: none, and nothing is measured."""
    candidates: Annotated[int, Field(ge=2)] = 256
    """Items that a view must find its own among (ours)."""
    every: Annotated[int, Field(ge=1)] | None = None
    """Steps between measurements; absent: a fifth of all steps."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many measurements without a better recall, and keep the best weights; absent: run to the end and
    keep the last (paper)."""

    @model_validator(mode="after")
    def _consistent(self) -> HeldOutConfig:
        if self.patience is not None and self.items == 0:
            raise ValueError("should have items to be patient about: patience measures on held-out items")
        return self


class ScftConfig(Config):
    """AdamW with linear decay to zero (LLMEmb reference code, llm/ds.config)."""

    augmentations: Annotated[list[AugmentationChoice], Field(min_length=1)]
    """Applied in this order to an item's attributes, twice, for its two views."""
    loss: LossChoice
    """Contrastive loss between the two views."""
    false_negatives: Literal["mask", "keep"] = "mask"
    """Items of the same text, or whose views are the same, are no negatives of each other; or they are (code)."""
    steps: Annotated[int, Field(ge=1)]
    """Optimiser steps (paper: 4000)."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Items per step over all processes, each with two views (paper: 64 per device on 4 devices)."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    """AdamW's highest step size (paper: 2e-4)."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps in which the step size rises to its highest (code: 0)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's decay (code: llm/ds.config leaves it to the trainer, whose default is 0)."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient (paper: 1.0)."""
    seed: Seed = 42
    """Seed of stage 1: one tuned encoder serves every seed of stage 2, as in the paper."""
    held_out: HeldOutConfig = HeldOutConfig()
    """Measurement on items that tuning does not see."""
    chunk_tokens: Annotated[int, Field(ge=1), MACHINE] | None = None
    """Padded tokens that go through the encoder at once; absent: 2,048 on a CPU (measured), 16,384 on a GPU."""
    graphs: Annotated[int, Field(ge=1), MACHINE] = 4
    """Chunks whose graphs are in memory together; what a batch has more is encoded twice. This and the size of a chunk
    are halved by themselves where memory does not suffice."""
    checkpoint_seconds: Annotated[float, Field(ge=0), MACHINE] = 60.0
    """Seconds between saved states, from which a killed run resumes; 0: after every step."""

    @model_validator(mode="after")
    def _consistent(self) -> ScftConfig:
        if self.warmup >= self.steps:
            raise ValueError("should have fewer steps of warmup than steps")
        return self
