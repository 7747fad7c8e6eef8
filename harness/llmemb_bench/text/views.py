"""Augmented views of items: two fresh ones of each at every step, and which of them mean the same."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from llmemb_bench.contracts import Augmentation, Tokens
from llmemb_bench.values.recdata import Attributes, Items

TRIES = 20
"""Draws until the two views of an item differ; some items have only one view."""


def view_of(items: Items, row: int, augmentations: Sequence[Augmentation], rng: np.random.Generator) -> Attributes:
    """One augmented view of an item."""
    attributes: Attributes = items.attributes[row]
    for augmentation in augmentations:
        attributes = augmentation.view(attributes, rng)
    return attributes


def second_view_of(
    items: Items, row: int, augmentations: Sequence[Augmentation], rng: np.random.Generator
) -> Attributes:
    """The other one; of most augmentations it is made as the first is."""
    attributes: Attributes = items.attributes[row]
    for augmentation in augmentations:
        attributes = augmentation.second(attributes, rng)
    return attributes


def two_views(
    items: Items,
    rows: Sequence[int],
    augmentations: Sequence[Augmentation],
    rng: np.random.Generator,
) -> list[Attributes]:
    """The first views of all rows, then the second ones; drawn again where the two are equal."""
    first = [view_of(items, row, augmentations, rng) for row in rows]
    second = []
    for row, other in zip(rows, first, strict=True):
        drawn = second_view_of(items, row, augmentations, rng)
        for _ in range(TRIES):
            if drawn != other:
                break
            drawn = second_view_of(items, row, augmentations, rng)
        second.append(drawn)
    return first + second


def duplicates(items: Items, rows: Sequence[int], tokens: Tokens) -> Bool[Tensor, "batch batch"]:
    """Which items of a batch must not count as each other's negatives: those of the same full text, or with a view
    that reads the same once it is cut; `tokens` of the views, in the order of `two_views`."""
    full = numbered([items.attributes[row] for row in rows])
    same = full[:, None] == full
    views = numbered(tokens.ids).reshape(2, len(rows))
    for one in views:
        for other in views:
            same |= one[:, None] == other
    np.fill_diagonal(same, False)
    return torch.from_numpy(same)


def numbered(values: Sequence[Hashable]) -> NDArray[np.int64]:
    """Equal values have equal numbers."""
    number = {value: index for index, value in enumerate(dict.fromkeys(values))}
    return np.array([number[value] for value in values])
