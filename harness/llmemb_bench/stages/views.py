"""Vectors of what shows a part of an item, for measuring an encoder before any recommender is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import Augmentation, Encoder, TextEncoder
from llmemb_bench.processes.world import world
from llmemb_bench.registry.build import build, plugin_of
from llmemb_bench.registry.kinds import AugmentationChoice
from llmemb_bench.stages.stage import Resources
from llmemb_bench.stages.together import MadeTogether
from llmemb_bench.stages.vectors import EncodedVectors
from llmemb_bench.text.encoding import build_encoder, encode, encode_views
from llmemb_bench.text.views import view_of
from llmemb_bench.values.recdata import Attributes, Items

SEED = 42
"""Of the views: every encoder is asked the same."""


class ViewVectors(MadeTogether[dict[str, Tensor]]):
    """By the encoder of `vectors`, tuned as it is there: of some items (rows of the catalogue) the vectors of an
    augmented view (`view`); of those of several attributes, of the first alone (`title`) and of the others (`rest`). An
    encoder that is fitted on the catalogue is fitted on catalogue and views here, so its vectors of the catalogue lie
    beside them (`items`). Of an encoder that reads no text there are none."""

    name = "views"

    def __init__(self, vectors: EncodedVectors, augmentations: list[AugmentationChoice], rows: Sequence[int]) -> None:
        self.vectors, self.augmentations, self.rows = vectors, augmentations, list(rows)
        settings = [vectors.encoder, augmentations, self.rows]
        super().__init__(vectors.cache, settings, vectors.upstream, vectors.files)

    @property
    def resources(self) -> Resources:
        return self.vectors.resources

    def make(self, folder: Path) -> None:
        choice, items = self.vectors.encoder, self.vectors.catalogue.result()
        found: dict[str, np.ndarray] = {}
        if plugin_of(Encoder, choice).needs_text:
            views = self._views(items)
            flat = [view for some in views.values() for view in some]
            whole = self._encoded(items, flat)
            ends = np.cumsum([len(some) for some in views.values()])
            found = dict(zip([*views, "items"], np.split(whole, ends), strict=True))
        if world().is_first:
            tensors = {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in found.items() if len(part)}
            save_file(tensors, folder / "views.safetensors")

    def _views(self, items: Items) -> dict[str, list[Attributes]]:
        drawing, rng = [build(Augmentation, choice) for choice in self.augmentations], generator(SEED, "views")
        told = [items.attributes[row] for row in self.rows if len(items.attributes[row]) > 1]
        return {
            "view": [view_of(items, row, drawing, rng) for row in self.rows],
            "title": [attributes[:1] for attributes in told],
            "rest": [attributes[1:] for attributes in told],
        }

    def _encoded(self, items: Items, views: Sequence[Attributes]) -> np.ndarray:
        """[views] or [views + items] vectors."""
        encoder = build_encoder(Encoder, self.vectors.encoder)
        if isinstance(encoder, TextEncoder):
            if self.vectors.adapter is not None:
                encoder.load_tuned(self.vectors.adapter.result())
            return encode_views(encoder, items, views, self.cache.unfinished(self.name, self.address))
        ids = [*(f"view {place}" for place in range(len(views))), *items.ids]
        return encode(encoder, Items.of(ids, [*views, *items.attributes], items.prompt))

    def load(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = load_file(self.folder / "views.safetensors")
        return found
