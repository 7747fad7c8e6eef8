"""Augmented views of items: two fresh ones of each at every step, and which of them mean the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from llmemb_bench.contracts import Augmentation
from llmemb_bench.data.recdata import Attributes, Items

TRIES = 20
"""Draws until the two views of an item differ; an item of one attribute has only one view."""


def view_of(items: Items, row: int, augmentations: Sequence[Augmentation], rng: np.random.Generator) -> Attributes:
    """One augmented view of an item."""
    attributes: Attributes = items.attributes[row]
    for augmentation in augmentations:
        attributes = augmentation.view(attributes, rng)
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
        drawn = view_of(items, row, augmentations, rng)
        for _ in range(TRIES if len(items.attributes[row]) > 1 else 0):
            if drawn != other:
                break
            drawn = view_of(items, row, augmentations, rng)
        second.append(drawn)
    return first + second


def alike(items: Items, rows: Sequence[int], views: Sequence[Attributes]) -> Bool[Tensor, "batch batch"]:
    """Which items of a batch must not count as each other's negatives: those of the same full text, or with a view
    in common; `views` as `two_views` gives them."""
    texts = [*(items.attributes[row] for row in rows), *views]
    number = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    codes = np.array([number[text] for text in texts]).reshape(3, len(rows))  # full text, first view, second view
    same = np.zeros((len(rows), len(rows)), dtype=bool)
    for one in codes:
        for other in codes:
            same |= one[:, None] == other
    np.fill_diagonal(same, False)
    return torch.from_numpy(same)
