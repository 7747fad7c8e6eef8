"""Soft-target CLIP loss, exactly as LLMEmb's published code computes it."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Loss
from llmemb_bench.registry.config import Config
from llmemb_plugins.losses._soft_targets import soft_cross_entropy

COLDEST = 1e-3  # ReaEmb's code


class SoftClipConfig(Config):
    """Settings of `soft_clip`."""

    temperature: Annotated[float, Field(gt=0)] = 3.0
    """Divides the logits and multiplies the targets; where it starts if learnt (code: 3, whatever is asked for)."""
    learn_temperature: bool = True
    """Whether training moves the temperature (code: yes in SCFT, no in RAT's alignment)."""
    normalize: bool = False
    """Unit vectors first (code: no)."""
    detach_targets: bool = False
    """No gradient through the targets (code: it flows)."""
    divide_targets: bool = False
    """Divide the targets by the temperature too, taken as 0.001 at least (the authors' later code, ReaEmb; LLMEmb's
    multiplies)."""


class SoftClip(Loss):
    """S = XY'/t, T = softmax(t (XX' + YY')/2), mean of CE(S, T) and CE(S', T') (LLMEmb code, llm/llama.py).

    The rows of T' do not sum to one; that is what the code does.
    """

    config: SoftClipConfig

    def __init__(self, config: SoftClipConfig) -> None:
        super().__init__(config)
        self.temperature = nn.Parameter(torch.tensor(config.temperature), requires_grad=config.learn_temperature)

    def forward(
        self,
        left: Float[Tensor, "batch dim"],
        right: Float[Tensor, "batch dim"],
        duplicates: Bool[Tensor, "batch batch"] | None = None,
    ) -> Float[Tensor, ""]:
        left, right = self._prepared(left), self._prepared(right)
        targets_move = not self.config.detach_targets
        return soft_cross_entropy(left, right, 1 / self.temperature, self._sharpness(), duplicates, targets_move)

    def _prepared(self, vectors: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return functional.normalize(vectors.float()) if self.config.normalize else vectors.float()

    def targets(
        self, left: Float[Tensor, "batch dim"], right: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch batch"]:
        left, right = self._prepared(left), self._prepared(right)
        return (self._sharpness() * (left @ left.T + right @ right.T) / 2).softmax(1)

    def _sharpness(self) -> Tensor:
        return 1 / self.temperature.clamp(min=COLDEST) if self.config.divide_targets else self.temperature

    def curves(self) -> dict[str, float]:
        return {"temperature": self.temperature.item()}
