"""Settings of training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llmemb_bench.config import Config, MetricChoice


class TrainConfig(Config):
    """Adam, early stopping on validation with the best epoch's weights kept."""

    batch_size: Annotated[int, Field(ge=1)] = 128
    """Histories a step (paper: 128)."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Adam's step size (paper: 1e-3)."""
    epochs: Annotated[int, Field(ge=1)] = 200
    """Passes over the training histories at most (paper: 200)."""
    patience: Annotated[int, Field(ge=1)] = 20
    """Validations without improvement before training stops (paper: 20)."""
    validate_every: Annotated[int, Field(ge=1)] = 1
    """Epochs between validations (paper: 1)."""
    monitor: MetricChoice = MetricChoice("ndcg")
    """Metric of the full validation ranking that chooses the best epoch, at the first cut-off (paper: NDCG@10)."""
