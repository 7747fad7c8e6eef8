"""Pairs: what follows an item, factorised; no backbone, and batches of its own (after FMC, Rendle et al., WWW 2010)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.base.ids import PAD
from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import Parts, Phase, Trained
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split


class PairsConfig(Config):
    """Settings of `pairs`."""

    dim: Annotated[int, Field(ge=1)] = 8
    """Width of both vectors of an item."""
    parts: Annotated[int, Field(ge=1)] = 2
    """Batches an epoch."""


class PairBatches:
    """[pairs, 2] an item and what followed it in a training history."""

    def __init__(self, pairs: np.ndarray, parts: int) -> None:
        self.pairs, self.parts = pairs, parts

    def __len__(self) -> int:
        return self.parts

    def epoch(self, seed: int, number: int, skip: int = 0) -> Iterator[Tensor]:
        order = generator(seed, "pairs", number).permutation(len(self.pairs))
        for rows in np.array_split(order, self.parts)[skip:]:
            yield torch.from_numpy(self.pairs[rows])


class Pairs(Trained):
    """score(j after i) = a_i · b_j, trained by cross-entropy over the catalogue."""

    config: PairsConfig
    max_len = 1

    def __init__(self, config: PairsConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.before, self.after = (nn.Embedding(parts.n_items, config.dim) for _ in range(2))

    def fit_counts(self, split: Split) -> None:
        histories = split.training_histories(np.arange(split.data.n_users), int(split.n_train.max()))
        pairs = np.stack([histories[:, :-1], histories[:, 1:]], axis=-1).reshape(-1, 2)
        self.pairs = pairs[pairs[:, 1] != PAD].astype(np.int64)

    def phases(self) -> Sequence[Phase]:
        return [Phase(name="pairs", loss=self.loss, batches=PairBatches(self.pairs, self.config.parts))]

    def loss(self, pairs: Tensor) -> Tensor:
        """-log softmax of what followed, a mean over the pairs."""
        pairs = pairs.to(self.device)
        return functional.cross_entropy(self.before(pairs[:, 0] - 1) @ self.after.weight.T, pairs[:, 1] - 1)

    def states(self, histories: Tensor) -> Tensor:
        last = (histories != PAD).sum(1, keepdim=True) - 1
        return self.before(histories.gather(1, last)[:, 0] - 1)

    def scores(self, states: Tensor, items: slice) -> Tensor:
        block = self.after.weight[items.start - 1 : items.stop - 1]
        return (states.double() @ block.double().T).float()
