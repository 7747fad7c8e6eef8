"""LLMEmb: frozen text vectors through an adapter, aligned with collaborative vectors (Liu et al., AAAI 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.base.errors import SpecError
from llmemb_bench.contracts import Batch, Loss, Parts, Upstream, VectorMethod
from llmemb_bench.registry.build import build
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.kinds import BackboneChoice, LossChoice, MethodChoice
from llmemb_plugins.methods._adapters import ADAPTERS, AdapterKind

UNIFORM, UNFELT = 0.95, 1e-3
"""Targets of more than this share of the largest entropy, or less than this share of the gradient, align nothing."""
SHARP, ELSEWHERE = 0.5, 0.2
"""Targets of less entropy than the one, which leave less than the other to the own item, name others: un-normalised
soft targets can end with the longest vectors of a batch."""


class AlignmentConfig(Config):
    """Alignment of adapted vectors with a teacher's (LLMEmb section RAT)."""

    loss: LossChoice = LossChoice("soft_clip", {"temperature": 2.0, "learn_temperature": False})
    """Contrastive loss between teacher and adapted vectors (scripts: tau 2, fixed)."""
    weight: Annotated[float, Field(ge=0)] = 0.01
    """Share in the total loss (scripts: 0.01); 0 is the ablation without alignment: no teacher is trained."""
    repeats: bool = False
    """Align an item as often as it is a positive in the batch, as the published code does (docs/departures.md 13),
    instead of each item once."""
    teacher: MethodChoice = MethodChoice("id_only")
    """The method whose item vectors are the goal."""
    backbone: BackboneChoice | None = None
    """The teacher's backbone, of the same `dim`; absent: the cell's own (paper: sasrec for every backbone)."""


class LlmEmbConfig(Config):
    """Settings of `llmemb`."""

    adapter: AdapterKind | Literal["none"] = "linear_linear"
    """Two linear layers (paper's code, no activation between them); `mlp` has a GELU between; `moe` is a gated mixture
    of eight linear experts (UniSRec); `none` is the ablation without adapter: text vectors as wide as `dim`."""
    adapter_dim: Annotated[int, Field(ge=1)] | None = None
    """Width between the two layers; absent: half the text vectors' (paper: 768 of 1536)."""
    freeze: bool = True
    """Whether the text vectors stay as they are (paper); false is the ablation without freeze."""
    ids: Literal["replace", "add", "concatenate"] = "replace"
    """Adapted vectors in place of learnt id vectors (paper), added to them, or half of each side by side."""
    standardize: bool = True
    """Scale the text vectors to unit mean square, so that the learning rate means the same for every encoder
    (ours; the published code keeps the encoder's scale, docs/departures.md 16)."""
    start_length: Annotated[float, Field(gt=0)] = 1.0
    """Mean length of the adapted vectors where training starts, of text vectors of unit mean square (ours); with
    `train.start: published` the adapter starts as Xavier's distribution has it: lengths of 4 to 17
    (docs/departures.md 34)."""
    alignment: AlignmentConfig = AlignmentConfig()
    """Alignment with collaborative vectors."""

    @model_validator(mode="after")
    def _adapter_dim_is_used(self) -> LlmEmbConfig:
        if self.adapter_dim is not None and self.adapter in ("moe", "none"):
            raise ValueError(f"adapter_dim says nothing to the adapter '{self.adapter}', which has one layer or none")
        return self


class LlmEmb(VectorMethod):
    """RAT: a_i = W2 (W1 E_i + b1) + b2, E frozen; loss = objective + weight * align(teacher, a)."""

    config: LlmEmbConfig
    needs = frozenset({"backbone", "training", "text"})
    loaded = frozenset({"text"})

    def __init__(self, config: LlmEmbConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        if parts.text is None:
            raise TypeError("llmemb needs text vectors")
        text = _scaled(parts.text[1:], config)
        # Frozen vectors are data, not weights: they are no part of what training saves.
        self.text: Tensor
        if config.freeze:
            self.register_buffer("text", text, persistent=False)
        else:
            self.text = nn.Parameter(text)
        self.teacher: Tensor | None
        self.register_buffer("teacher", parts.teacher, persistent=False)
        adapted_dim = self._adapted_dim()
        if config.adapter == "none":
            _refuse_other_width(text.shape[1], adapted_dim)
            self.adapter: nn.Module = nn.Identity()
        else:
            std = config.start_length * adapted_dim**-0.5
            self.adapter = ADAPTERS[config.adapter](text.shape[1], config.adapter_dim, adapted_dim, std)
        if config.ids != "replace":
            self.table = nn.Embedding(parts.n_items, adapted_dim)
            nn.init.normal_(self.table.weight, std=0.02)  # as in id_only
        self.align = build(Loss, config.alignment.loss)

    def _adapted_dim(self) -> int:
        if self.config.ids != "concatenate":
            return self.dim
        if self.dim % 2:
            raise SpecError(
                f"text and id vectors share the width {self.dim} evenly",
                where="recommender.method.ids",
                fix="an even dim",
            )
        return self.dim // 2

    @classmethod
    def upstream(cls, config: Config) -> Mapping[str, Upstream]:
        alignment = LlmEmbConfig.model_validate(config).alignment
        if not alignment.weight:
            return {}
        return {"teacher": Upstream(alignment.teacher, alignment.backbone, same_dim=True)}

    def tables(self) -> list[nn.Embedding]:
        return [] if self.config.ids == "replace" else [self.table]

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        adapted: Tensor = self.adapter(functional.embedding(ids - 1, self.text))
        match self.config.ids:
            case "replace":
                return adapted
            case "add":
                added: Tensor = adapted + self.table(ids - 1)
                return added
            case "concatenate":
                return torch.cat([adapted, self.table(ids - 1)], dim=1)

    def auxiliary(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
        alignment = self.config.alignment
        if self.teacher is None or alignment.weight == 0:
            return vectors.new_zeros(())
        rows = batch.positives if alignment.repeats else torch.unique(batch.positives)
        teacher = functional.embedding(batch.rows[rows], self.teacher)
        loss: Tensor = self.align(teacher, functional.embedding(rows, vectors))
        return alignment.weight * loss

    def curves(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> dict[str, float]:
        """Over the distinct positives: how far from uniform the alignment's targets are, and the lengths that decide
        it."""
        if self.teacher is None or self.config.alignment.weight == 0:
            return {}
        rows = torch.unique(batch.positives)
        teacher, adapted = functional.embedding(batch.rows[rows], self.teacher), functional.embedding(rows, vectors)
        targets = self.align.targets(teacher, adapted)
        entropy = torch.special.entr(targets).sum(1).mean() / math.log(max(len(rows), 2))
        return {
            "target_entropy": entropy.item(),
            "target_own": targets.diagonal().mean().item(),
            "target_chance": 1 / len(rows),
            "adapted_length": adapted.norm(dim=1).mean().item(),
            "teacher_length": teacher.norm(dim=1).mean().item(),
        }

    def warnings(self, curves: Mapping[str, float]) -> list[str]:
        if not curves:
            return []
        entropy, own = curves["target_entropy"], curves["target_own"]
        idle = "alignment is switched on and idle where training ends"
        found = {
            f"{idle}: its targets are nearly uniform (over {UNIFORM:.0%} of the largest entropy)": entropy > UNIFORM,
            f"{idle}: it gives less than {UNFELT:.1%} of the gradient by item vectors": curves["auxiliary_share"]
            < UNFELT,
            f"alignment pulls towards other items: its targets leave less than {ELSEWHERE:.0%} to the own one": (
                entropy < SHARP and own < ELSEWHERE
            ),
        }
        return [doubt for doubt, holds in found.items() if holds]


def _scaled(text: Float[Tensor, "items text_dim"], config: LlmEmbConfig) -> Float[Tensor, "items text_dim"]:
    """Entries of unit mean square; without an adapter vectors of `start_length`, for nothing else would scale them."""
    if not config.standardize:
        return text
    length = config.start_length * text.shape[1] ** -0.5 if config.adapter == "none" else 1.0
    return text * (length / text.square().mean().sqrt())


def _refuse_other_width(text_dim: int, dim: int) -> None:
    if text_dim != dim:
        raise SpecError(
            f"without an adapter the text vectors must be as wide as the recommender's: they have {text_dim} "
            f"dimensions, should have {dim}",
            where="recommender.method.adapter",
            fix=f"embeddings.transforms: [{{use: pca, dim: {dim}}}]",
        )
