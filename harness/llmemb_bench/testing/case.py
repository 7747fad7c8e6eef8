"""What a check is given, and the small worlds that checks share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmemb_bench.contracts import Plugin
from llmemb_bench.registry.entries import Entry
from llmemb_bench.values.recdata import Items, RecData
from llmemb_bench.values.split import Split
from llmemb_bench.values.strings import Strings

P = TypeVar("P", bound=Plugin)


class Skipped(Exception):  # noqa: N818  # an outcome, not an error
    """A check that does not apply; says why."""


class Broken(Exception):  # noqa: N818  # an outcome, not an error
    """A promise that a plugin does not keep: what was found, and what to look at."""


def require(holds: object, finding: str, hint: str = "") -> None:
    """Go on where a promise is kept; else say what was found. Unlike `assert` it also holds under `python -O`."""
    if not holds:
        raise Broken(f"{finding} -> {hint}" if hint else finding)


def close(one: Tensor, other: Tensor, atol: float = 1e-5) -> bool:
    """Whether two tensors are of one shape and nearly equal."""
    return one.shape == other.shape and torch.allclose(one, other, atol=atol)


@dataclass(frozen=True)
class Case(Generic[P]):
    """A plugin with the settings of its own example."""

    entry: Entry
    plugin: type[P]
    config: Any
    folder: Path
    """For what a check writes."""


def small_items(count: int = 40) -> Items:
    """A catalogue of short texts, ids item1, item2, ..."""
    words = ("red", "blue", "soap", "film", "one", "two")
    attributes = tuple(
        (
            ("title", " ".join([words[index % 6], "thing", *(["two"] * (index % 5))])),
            ("kind", words[index // 6 % 6]),
            ("number", str(index)),
        )
        for index in range(1, count + 1)
    )
    names = tuple(f"item{index}" for index in range(1, count + 1))
    return Items.of(names, attributes)


def small_split(n_users: int = 12, n_items: int = 40) -> Split:
    """Histories of one to nine events; user 0 has nine."""
    rng = np.random.default_rng(0)
    lengths = np.concatenate([[9, 3, 1], rng.integers(3, 10, size=n_users - 3)])
    return Split(
        RecData(
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            items=rng.integers(1, n_items + 1, size=lengths.sum()).astype(np.int32),
            times=np.arange(lengths.sum(), dtype=np.int64),
            user_ids=Strings.of(f"user{user}" for user in range(n_users)),
            catalogue=small_items(n_items),
        )
    )


def renumbered(split: Split, order: NDArray[np.int64]) -> Split:
    """The same histories and items where item i is what item `order[i - 1] + 1` was."""
    data, number = split.data, np.argsort(order) + 1
    ids, attributes = (list(column) for column in (data.catalogue.ids, data.catalogue.attributes))
    catalogue = Items.of([ids[row] for row in order], [attributes[row] for row in order])
    return Split(replace(data, items=number[data.items - 1].astype(np.int32), catalogue=catalogue))
