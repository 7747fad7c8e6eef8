"""What is gone through in a loop has to be there: a loop over nothing asserts nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def some(things: Iterable[T]) -> list[T]:
    """The things, of which there is one at the least."""
    found = list(things)
    assert found, "nothing to look at"
    return found
