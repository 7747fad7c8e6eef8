"""Settings of supervised contrastive fine-tuning."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llmemb_bench.config import AugmentationChoice, Config, LossChoice


class ScftConfig(Config):
    """AdamW with linear decay to zero and no warm-up (LLMEmb reference code, llm/ds.config)."""

    augmentations: Annotated[list[AugmentationChoice], Field(min_length=1)]
    """Applied in this order to an item's attributes, twice, for its two views."""
    loss: LossChoice
    """Contrastive loss between the two views."""
    steps: Annotated[int, Field(ge=1)]
    """Optimiser steps (paper: 4000)."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Items a step, each with two views (paper: 64 a device on 4 devices)."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    """AdamW's step size at the start (paper: 2e-4)."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Longest gradient (paper: 1.0)."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of stage 1: one tuned encoder serves every seed of stage 2, as in the paper."""
