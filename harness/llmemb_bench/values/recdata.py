"""The frozen types that flow from the data: prompts, items, histories."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Literal, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.values.strings import Strings

Attributes = tuple[tuple[str, str], ...]
"""An item's named values in order, for example `(("title", "Toy Story"), ("genres", "Comedy"))`."""

TimeUnit = Literal["s", "ms", "us", "ns", "order"]
"""Seconds, milli-, micro- or nanoseconds since 1970 (UTC); `order`: no times, only which event came first."""


@dataclass(frozen=True)
class Prompt:
    """How attributes become a text; the defaults are LLMEmb's form (reference code, data/*/item_prompt)."""

    instruction: str = "The item has the following attributes: "
    """The line that a text starts with."""
    phrase: str = " {name} is {value}"
    """How one attribute is written."""
    phrases: Mapping[str, str] = field(default_factory=dict)
    """Attributes that are written in another way."""
    separator: str = ";"

    def text(self, attributes: Attributes) -> str:
        """The text of one item, or of a view of it."""
        return self.instruction + "\n" + self.separator.join(self._written(*attribute) for attribute in attributes)

    def _written(self, name: str, value: str) -> str:
        # Replaced, not formatted: a template must not reach into objects, and a value may hold braces.
        before, _, after = self.phrases.get(name, self.phrase).replace("{name}", name).partition("{value}")
        return before + value + after


class AttributeTable(Sequence[Attributes]):
    """The attributes of many items, row by row; an absent value is the empty string."""

    def __init__(self, names: tuple[str, ...], values: Strings, rows: int) -> None:
        self.names, self.values, self._rows = names, values, rows

    @classmethod
    def of(cls, rows: Sequence[Attributes]) -> AttributeTable:
        """From Python values, which must name their attributes in one order."""
        names = tuple(dict.fromkeys(name for row in rows for name, _ in row))
        values = (dict(row).get(name, "") for row in rows for name in names)
        return cls(names, Strings.of(values), len(rows))

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, index: SupportsIndex) -> Attributes: ...
    @overload
    def __getitem__(self, index: slice) -> list[Attributes]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Attributes | list[Attributes]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row, width = range(len(self))[index], len(self.names)
        return self._pairs(self.values[row * width : (row + 1) * width])

    def __iter__(self) -> Iterator[Attributes]:
        texts = iter(self.values)
        for _ in range(len(self)):
            yield self._pairs([next(texts) for _ in self.names])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AttributeTable):
            return NotImplemented
        return (self.names, len(self)) == (other.names, len(other)) and self.values == other.values

    def __hash__(self) -> int:
        return hash((self.names, self.values))

    def filled(self) -> NDArray[np.bool_]:
        """[items, attributes] whether an item has an attribute."""
        return (self.values.lengths() > 0).reshape(len(self), len(self.names))

    def _pairs(self, values: Iterable[str]) -> Attributes:
        return tuple((name, value) for name, value in zip(self.names, values, strict=True) if value)


@dataclass(frozen=True)
class Items:
    """The catalogue: row r describes the item with id r + 1."""

    ids: Strings
    """The dataset's own ids."""
    attributes: AttributeTable
    prompt: Prompt = field(default_factory=Prompt)

    @classmethod
    def of(cls, ids: Iterable[str], attributes: Sequence[Attributes], prompt: Prompt | None = None) -> Items:
        """From Python values."""
        return cls(Strings.of(ids), AttributeTable.of(attributes), prompt or Prompt())

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def key(self) -> str:
        """Hash of ids and texts: what vectors depend on."""
        parts = [self.ids.digest, self.attributes.values.digest, *self.attributes.names, asdict(self.prompt)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def text(self, attributes: Attributes) -> str:
        """The text of one item or of a view of it."""
        return self.prompt.text(attributes)

    def texts(self) -> list[str]:
        """The full text of every item."""
        return [self.prompt.text(attributes) for attributes in self.attributes]


@dataclass(frozen=True, eq=False)
class RecData:
    """Histories as flat arrays (CSR): user u's events are `items[offsets[u]:offsets[u + 1]]`, in time order."""

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    user_ids: Strings
    catalogue: Items
    time_unit: TimeUnit = "order"
    folds: NDArray[np.int8] | None = None
    """Given split, if there is one: 0 training, 1 validation, 2 test, in this order within a history."""
    tally: Mapping[str, int] = field(default_factory=dict)
    """What preparation read, dropped and repaired, in rows."""
    clock: str = ""
    """How the times were read, in words."""
    warnings: tuple[str, ...] = ()
    """What a reader must know of the preparation."""

    @cached_property
    def key(self) -> str:
        """Hash of who did what in which order: what models of one table must have in common."""
        found = hashlib.sha256(f"{self.user_ids.digest} {self.catalogue.ids.digest} {self.time_unit}".encode())
        for array in (self.offsets, self.items, self.times, self.folds):
            if array is not None:
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    @property
    def n_users(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_items(self) -> int:
        return len(self.catalogue)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Events per user."""
        return np.diff(self.offsets)

    def history(self, user: int) -> NDArray[np.int32]:
        """All events of one user."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]
