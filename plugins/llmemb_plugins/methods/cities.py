"""CITIES: vectors of rare items inferred from their contexts (Jang et al., ICDM 2020)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.base.errors import DataError, SpecError
from llmemb_bench.base.ids import PAD
from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import Depth, Parts, Phase, Upstream
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.kinds import MethodChoice
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._continued import Continued

INFERRED = 256
"""Items whose contexts are in memory at once."""
CONTEXTS = 128
"""Contexts of similar length that are read together."""


class CitiesConfig(Config):
    """Settings of `cities`; those without an origin are the published code's."""

    base: MethodChoice = MethodChoice("id_only")
    """The recommender whose vectors are inferred, on the same backbone; it stands still."""
    rare: Annotated[int, Field(ge=0)] = 5
    """Items with at most so many training events get inferred vectors; the others are learnt from (5). 0 leaves all
    vectors as they are."""
    around: Annotated[int, Field(ge=1)] = 24
    """Events to each side of an item in a context (24)."""
    contexts: Annotated[int, Field(ge=1)] = 10
    """Contexts of an item at most: a step draws a number from 1 to this (10)."""
    layers: Depth = 2
    """Blocks of the reader of contexts, and of what mixes them (2)."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Their attention heads; must divide `dim` (4)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of activations dropped in training (0.2; 0.5 in the attention)."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of the items learnt from that training is stopped by (0.05)."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Adam's step size (1e-4, with a warm-up over 100 steps and a decay over a million, left out here)."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Items a step (128)."""
    epochs: Annotated[int, Field(ge=1)] = 200
    """Passes over the items learnt from, at most (the published file says 1, with a patience of 10: a leftover)."""
    patience: Annotated[int, Field(ge=1)] = 10
    """Epochs without improvement on the items held out before it stops (10)."""


class Cities(Continued):
    """v_i = W mean_k G(F(context k)) + b of a rare item i, for which F, G, W and b learnt to give the vectors of the
    other items: loss = |v_i - the base's vector|² / dim, a mean over items.

    A context is an event of i with up to `around` training events to each side. At each place p stands a_p v + s_p, v
    the base's vector (at i itself, wherever it occurs, one learnt vector), a_p a learnt number that starts at 1 and s_p
    a sinusoid / sqrt(dim); F is a transformer encoder (post-norm, inner width 2 dim) and the mean over its places, G
    one over the contexts of the item.

    The recommender stands still, and reads and ranks with the inferred vectors of rare items. Ours: an item hides
    itself in all of a context; contexts need one other event (two in the published code); an item's contexts are drawn
    without repetition; training has a pass over the items an epoch instead of draws with repetition.
    """

    config: CitiesConfig

    def __init__(self, config: CitiesConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        if self.dim % config.heads:
            raise SpecError(
                f"{config.heads} heads do not share the width {self.dim} evenly",
                where="recommender.method.heads",
                fix="a backbone whose dim is a multiple of heads",
            )
        self.requires_grad_(False)
        n_places = 2 * config.around + 1
        self.reader, self.mixer = (_encoder(self.dim, config) for _ in range(2))
        self.out = nn.Linear(self.dim, self.dim)
        self.own = nn.Parameter(torch.randn(self.dim) * self.dim**-0.5)
        self.importance = nn.Parameter(torch.ones(n_places))
        self.register_buffer("sinusoids", _sinusoids(n_places, self.dim), persistent=False)
        self.sinusoids: Tensor

    @classmethod
    def upstream(cls, config: Config) -> Mapping[str, Upstream]:
        return {"base": Upstream(CitiesConfig.model_validate(config).base, same_dim=True)}

    @classmethod
    def example(cls, folder: Path) -> Mapping[str, object]:
        return {"rare": 1}

    def fit_counts(self, split: Split) -> None:
        self.windows = Windows.of(split, self.config.around)
        counts, able = split.popularity, self.windows.n_of_item > 0
        self.is_inferred = torch.from_numpy(able & (counts <= self.config.rare))
        learnt = np.flatnonzero(able & (counts > self.config.rare))
        if len(learnt) < 2:
            raise DataError(
                f"{len(learnt)} items have more than {self.config.rare} training events to learn from",
                where="recommender.method.rare",
                fix="a smaller number",
            )
        order = generator(0, "held out").permutation(learnt)
        n_held_out = min(max(round(self.config.held_out * len(order)), 1), len(order) - 1)
        self.held_out, self.learnt = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])

    # --- training ---

    def phases(self) -> Sequence[Phase]:
        settings = self.config
        return [
            Phase(
                name="contexts",
                begin=self.start_as_base,
                loss=self.loss,
                batches=ItemBatches(self.windows, self.learnt, settings.batch_size, settings.contexts),
                learning_rate=settings.learning_rate,
                epochs=settings.epochs,
                patience=settings.patience,
                monitor=self.monitor,
            )
        ]

    def loss(self, batch: ItemBatch) -> Float[Tensor, ""]:
        """Mean square distance of inferred vectors from the base's."""
        batch = batch.to(self.device)
        return functional.mse_loss(self.inferred(batch), self.table(batch.items - 1))

    def monitor(self) -> float:
        """The negative loss on the items held out, with all of their contexts that are allowed."""
        items = [torch.from_numpy(part) for part in np.array_split(self.held_out, -(-len(self.held_out) // INFERRED))]
        losses = [float(self.loss(self._whole(part))) * len(part) for part in items]
        return -sum(losses) / len(self.held_out)

    def _whole(self, items: Int[Tensor, "items"]) -> ItemBatch:
        return self.windows.batch(items.numpy(), self.config.contexts, None)

    # --- vectors ---

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        vectors = super().items(ids)
        rows = torch.nonzero(self.is_inferred[ids.cpu()])[:, 0]
        for part in torch.split(rows, INFERRED) if len(rows) else ():
            made = self.inferred(self._whole(ids.cpu()[part]).to(self.device))
            vectors = vectors.index_put((part.to(self.device),), made)
        return vectors

    def inferred(self, batch: ItemBatch) -> Float[Tensor, "items dim"]:
        """Vectors of items from their contexts."""
        own = batch.items[batch.owner][:, None]
        table = torch.cat([self.table.weight.new_zeros(1, self.dim), self.table.weight, self.own[None]])
        ids = torch.where(batch.windows == own, len(table) - 1, batch.windows)
        order = (ids != PAD).sum(1).argsort()
        read = [self._read(ids[part], table) for part in torch.split(order, CONTEXTS)]
        found = torch.cat(read)[order.argsort()]  # [contexts, dim]
        present = torch.arange(int(batch.count.max()), device=ids.device) < batch.count[:, None]
        several = found.new_zeros(*present.shape, self.dim).index_put((present,), found)
        mixed: Tensor = self.out(_mean(self.mixer(several, src_key_padding_mask=~present), present))
        return mixed

    def _read(
        self, ids: Int[Tensor, "contexts places"], table: Float[Tensor, "rows dim"]
    ) -> Float[Tensor, "contexts dim"]:
        """F of some contexts; their events are moved together first, each with what belongs to its place."""
        real, places = (ids != PAD).sort(dim=1, descending=True, stable=True)
        longest = int(real.sum(1).max())
        real, places = real[:, :longest], places[:, :longest]
        vectors = functional.embedding(ids.gather(1, places), table)
        x = vectors * self.importance[places][:, :, None] + functional.embedding(places, self.sinusoids)
        x = functional.dropout(x, self.config.dropout, self.training)
        return _mean(self.reader(x, src_key_padding_mask=~real), real)


@dataclass(frozen=True)
class ItemBatch:
    """Items and their contexts, those of an item one after another."""

    items: Int[Tensor, "items"]
    windows: Int[Tensor, "contexts places"]
    """Item ids, the item itself in the middle; 0 where the history has no event."""
    owner: Int[Tensor, "contexts"]
    """To which of the items a context belongs."""
    count: Int[Tensor, "items"]
    """Contexts of each item, at least one."""

    def to(self, device: torch.device) -> ItemBatch:
        """The same on another device."""
        return ItemBatch(*(part.to(device) for part in (self.items, self.windows, self.owner, self.count)))


@dataclass(frozen=True)
class Windows:
    """The training events of each item with what stands around them."""

    events: NDArray[np.integer]
    """Item ids of all events."""
    places: NDArray[np.int64]
    """Where those with another event around them stand, item by item."""
    low: NDArray[np.int64]
    """Of each of them, where its user's training part begins, and ends in `high`."""
    high: NDArray[np.int64]
    first: NDArray[np.int64]
    """[ids + 1] where the places of an item begin."""
    around: int

    @classmethod
    def of(cls, split: Split, around: int) -> Windows:
        users, items = split.training_events()
        places = np.flatnonzero(split.positions < np.repeat(split.n_train, split.lengths))
        several = split.n_train[users] > 1
        order = np.flatnonzero(several)[np.argsort(items[several], kind="stable")]
        low = split.data.offsets[:-1][users]
        first = np.searchsorted(items[order], np.arange(split.data.n_items + 2))
        high = low + split.n_train[users]
        return cls(split.data.items, places[order], low[order], high[order], first, around)

    @property
    def n_of_item(self) -> NDArray[np.int64]:
        """[ids] contexts of each item."""
        return np.diff(self.first)

    def batch(self, items: NDArray[np.int64], most: int, rng: np.random.Generator | None) -> ItemBatch:
        """At most so many contexts of each item; the first ones, or drawn ones."""
        n_each = np.minimum(self.n_of_item[items], most)
        chosen = [self._some(item, count, rng) for item, count in zip(items.tolist(), n_each.tolist(), strict=True)]
        rows = np.concatenate(chosen)
        at = self.places[rows, None] + np.arange(-self.around, self.around + 1)
        inside = (at >= self.low[rows, None]) & (at < self.high[rows, None])
        windows = np.where(inside, self.events[np.where(inside, at, 0)], PAD).astype(np.int64)
        owner = np.repeat(np.arange(len(items)), n_each)
        return ItemBatch(*(torch.from_numpy(part) for part in (items, windows, owner, n_each)))

    def _some(self, item: int, count: int, rng: np.random.Generator | None) -> NDArray[np.int64]:
        if rng is None:
            return np.arange(self.first[item], self.first[item] + count)
        return rng.choice(np.arange(self.first[item], self.first[item + 1]), size=count, replace=False)


@dataclass(frozen=True)
class ItemBatches:
    """Every item once an epoch, with as many contexts in a step as that step draws."""

    windows: Windows
    items: NDArray[np.int64]
    size: int
    most: int

    def __len__(self) -> int:
        return -(-len(self.items) // self.size)

    def epoch(self, seed: int, number: int, skip: int = 0) -> Iterator[ItemBatch]:
        """See `Batches`."""
        order = generator(seed, "items", number).permutation(self.items)
        for place in range(skip, len(self)):
            rng = generator(seed, "contexts", number, place)
            some = order[place * self.size : (place + 1) * self.size]
            yield self.windows.batch(some, int(rng.integers(1, self.most + 1)), rng)


def _encoder(dim: int, config: CitiesConfig) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(dim, config.heads, 2 * dim, config.dropout, batch_first=True)
    return nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)


def _mean(x: Float[Tensor, "n len dim"], real: Bool[Tensor, "n len"]) -> Float[Tensor, "n dim"]:
    """Over the real places."""
    return (x * real[:, :, None]).sum(1) / real.sum(1, keepdim=True)


def _sinusoids(n_places: int, dim: int) -> Float[Tensor, "places dim"]:
    """sin and cos of p / 10000^(2j/dim) side by side, over sqrt(dim)."""
    rates = 10000.0 ** (-torch.arange(0, dim, 2) / dim)
    angles = torch.arange(n_places)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :dim] / math.sqrt(dim)
