"""The single owner of item ids: 0 is padding, 1..n_items are items, n_items + 1 is the mask."""

from __future__ import annotations

PAD = 0


def mask_id(n_items: int) -> int:
    """The id that stands for a hidden item in a cloze task."""
    return n_items + 1


def n_rows(n_items: int) -> int:
    """Rows of a table that holds padding and all items (the mask is a vector of its own)."""
    return n_items + 1
