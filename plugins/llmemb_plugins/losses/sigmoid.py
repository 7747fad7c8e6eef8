"""SigLIP's loss: every pair of the batch is a yes-or-no question of its own, without a softmax."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Loss
from llmemb_bench.registry.config import Config


class SigmoidConfig(Config):
    """Settings of `sigmoid`."""

    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Divides the cosines; where it starts if learnt (paper: exp(-t') with t' = log 10)."""
    bias: float = -10.0
    """Added to them; where it starts if learnt (paper: -10, for batches of 32 thousand). Few steps hardly move it:
    -log(batch_size - 1) is where a batch's negatives weigh as much as its positives."""
    learn_temperature: bool = True
    """Whether training moves the temperature, by its logarithm (paper: yes)."""
    learn_bias: bool = True
    """Whether training moves the bias (paper: yes)."""


class Sigmoid(Loss):
    """-1/B sum_ij log sigmoid(z_ij (cos(left_i, right_j) / t + b)), z_ij = 1 where i = j, else -1 (Zhai et al. 2023,
    section 3.2 and algorithm 1). Pairs of one meaning are left out."""

    config: SigmoidConfig

    def __init__(self, config: SigmoidConfig) -> None:
        super().__init__(config)
        start = torch.tensor(-math.log(config.temperature))
        self.log_scale = nn.Parameter(start, requires_grad=config.learn_temperature)
        self.bias = nn.Parameter(torch.tensor(config.bias), requires_grad=config.learn_bias)

    def forward(
        self,
        left: Float[Tensor, "batch dim"],
        right: Float[Tensor, "batch dim"],
        duplicates: Bool[Tensor, "batch batch"] | None = None,
    ) -> Float[Tensor, ""]:
        cosines = functional.normalize(left.float()) @ functional.normalize(right.float()).T  # [batch, batch]
        logits = self.log_scale.exp() * cosines + self.bias
        asked = functional.softplus(logits).fill_diagonal_(0)  # -log sigmoid(-x) of the negatives
        if duplicates is not None:
            asked = asked.masked_fill(duplicates, 0)
        return (asked.sum() + functional.softplus(-logits.diagonal()).sum()) / len(left)

    def curves(self) -> dict[str, float]:
        return {"temperature": (-self.log_scale).exp().item(), "bias": self.bias.item()}
