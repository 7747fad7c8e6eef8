"""LLMEmb: frozen text vectors through an adapter, aligned with collaborative vectors (Liu et al., AAAI 2025)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.config import BackboneChoice, Config, LossChoice, MethodChoice
from llmemb_bench.contracts import Batch, Loss, Parts, Teacher, VectorMethod
from llmemb_bench.spec.check import build


class AlignmentConfig(Config):
    """Alignment of adapted vectors with a teacher's (LLMEmb section RAT)."""

    loss: LossChoice = LossChoice("soft_clip", {"temperature": 2.0, "learn_temperature": False})
    """Contrastive loss between teacher and adapted vectors (scripts: tau 2, fixed)."""
    weight: Annotated[float, Field(ge=0)] = 0.01
    """Share in the total loss (scripts: 0.01); 0 is the ablation without alignment."""
    over: Literal["distinct", "repeats"] = "distinct"
    """Align each item of the batch once; `repeats` is the published code (docs/departures.md 13)."""
    teacher: MethodChoice = MethodChoice("id_only")
    """The method whose item vectors are the goal."""
    backbone: BackboneChoice | None = None
    """The teacher's backbone, of the same `dim`; absent: the cell's own (paper: sasrec for every backbone)."""


class LlmEmbConfig(Config):
    """Settings of `llmemb`."""

    adapter: Literal["linear_linear", "mlp"] = "linear_linear"
    """Two linear layers (paper's code, no activation between them) or with a GELU between."""
    adapter_dim: Annotated[int, Field(ge=1)] | None = None
    """Width between the two layers; absent: half the text vectors' (paper: 768 of 1536)."""
    standardize: bool = True
    """Scale the frozen table to unit mean square, so that the learning rate means the same for every encoder
    (ours; the published code keeps the encoder's scale, docs/departures.md 16)."""
    alignment: AlignmentConfig = AlignmentConfig()
    """Alignment with collaborative vectors."""


class LlmEmb(VectorMethod):
    """RAT: a_i = W2 (W1 E_i + b1) + b2, E frozen; loss = objective + weight * align(teacher, a)."""

    config: LlmEmbConfig
    needs = frozenset({"backbone", "training", "text", "teacher"})

    def __init__(self, config: LlmEmbConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        if parts.text is None or parts.teacher is None:
            raise TypeError("llmemb needs text and teacher vectors")
        scale = parts.text.square().mean().sqrt() if config.standardize else 1.0
        self.text: Tensor
        self.goal: Tensor
        self.register_buffer("text", parts.text / scale, persistent=False)
        self.register_buffer("goal", parts.teacher, persistent=False)
        text_dim = parts.text.shape[1]
        inner = config.adapter_dim or max(text_dim // 2, self.dim)
        self.first, self.second = nn.Linear(text_dim, inner), nn.Linear(inner, self.dim)
        self.align = build(Loss, config.alignment.loss)
        nn.init.normal_(self.first.weight, std=text_dim**-0.5)
        nn.init.normal_(self.second.weight, std=(inner * self.dim) ** -0.5)

    @classmethod
    def teacher(cls, config: Config) -> Teacher | None:
        alignment = LlmEmbConfig.model_validate(config).alignment
        return Teacher(alignment.teacher, alignment.backbone)

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        inner = self.first(functional.embedding(ids, self.text))
        if self.config.adapter == "mlp":
            inner = functional.gelu(inner)
        vectors: Tensor = self.second(inner)
        return vectors

    def auxiliary(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
        if self.config.alignment.weight == 0:
            return vectors.new_zeros(())
        rows = torch.unique(batch.positives) if self.config.alignment.over == "distinct" else batch.positives
        goal = functional.embedding(batch.rows[rows], self.goal)
        loss: Tensor = self.align(goal, functional.embedding(rows, vectors))
        return self.config.alignment.weight * loss
