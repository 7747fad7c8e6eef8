"""Items that tuning never sees, and whether a view of one finds it among the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import Augmentation, TextEncoder
from llmemb_bench.settings.scft import ScftConfig
from llmemb_bench.text.encoding import encode_views
from llmemb_bench.text.geometry import SAME, alignment, uniformity, unit
from llmemb_bench.text.views import view_of
from llmemb_bench.values.recdata import Attributes, Items

MOST = 10
"""At most one item in so many is held out."""


@dataclass(frozen=True)
class HeldOut:
    """Queries are one fixed view of each held-out item; candidates are full texts, theirs first, then of others."""

    items: Items
    rows: Sequence[int]
    """Rows of the held-out items."""
    queries: Sequence[Attributes]
    candidates: Sequence[Attributes]

    def measure(self, encoder: TextEncoder) -> dict[str, float]:
        """recall_at_1: share of queries whose nearest candidate, by cosine, has the own item's text; alignment: mean
        squared distance of a query to its item; uniformity: log mean exp(-2 d^2) over pairs of candidates (both of
        unit vectors, Wang & Isola 2020)."""
        vectors = unit(encode_views(encoder, self.items, [*self.queries, *self.candidates]))
        queries, candidates = vectors[: len(self.queries)], vectors[len(self.queries) :]
        cosines = queries @ candidates.T
        found = np.diagonal(cosines) >= cosines.max(axis=1) - SAME  # another item of the same text is no miss
        return {
            "recall_at_1": float(np.mean(found)),
            "alignment": alignment(queries, candidates[: len(queries)]),
            "uniformity": uniformity(candidates),
        }


def hold_out(items: Items, augmentations: Sequence[Augmentation], config: ScftConfig) -> HeldOut | None:
    """Draw the items that are measured on; None where the catalogue is too small for that."""
    count = min(config.held_out.items, len(items) // MOST)
    if count < 1:
        return None
    rng = generator(config.seed, "held out")
    order = rng.permutation(len(items))[: max(count, config.held_out.candidates)].tolist()
    return HeldOut(
        items,
        order[:count],
        [view_of(items, row, augmentations, rng) for row in order[:count]],
        [items.attributes[row] for row in order],
    )
