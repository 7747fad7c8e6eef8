"""Texts to item vectors: the encoder, tuned if the spec says so, and the reduction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmemb_bench.base import progress
from llmemb_bench.contracts import Encoder, TextEncoder
from llmemb_bench.processes.world import world
from llmemb_bench.registry.build import plugin_of
from llmemb_bench.runs.files import write_json
from llmemb_bench.spec.frame import Embeddings
from llmemb_bench.stages.adapter import TunedWeights
from llmemb_bench.stages.dataset import Catalogue
from llmemb_bench.stages.stage import Resources, Stage
from llmemb_bench.stages.together import MadeTogether
from llmemb_bench.text.encoding import build_encoder, encode
from llmemb_bench.text.manifest import MADE, how_made
from llmemb_bench.values.item_vectors import ItemVectors, reduce_dim


class TextVectors(MadeTogether[ItemVectors]):
    """Vectors of the catalogue, and how they were made."""

    name, version = "vectors", 3

    def __init__(
        self, catalogue: Catalogue, embeddings: Embeddings, files: list[str], adapter: TunedWeights | None
    ) -> None:
        upstream: list[Stage[Any]] = [catalogue] if adapter is None else [catalogue, adapter]
        super().__init__(catalogue.cache, [embeddings.encoder, embeddings.reduce], upstream, files)
        self.catalogue, self.embeddings, self.adapter = catalogue, embeddings, adapter

    @property
    def resources(self) -> Resources:
        return Resources(gpu=plugin_of(Encoder, self.embeddings.encoder).trainable)

    def make(self, folder: Path) -> None:
        items, adapter = self.catalogue.result(), self.adapter.result() if self.adapter else None
        encoder = build_encoder(Encoder, self.embeddings.encoder)
        if adapter is not None and isinstance(encoder, TextEncoder):
            encoder.load_tuned(adapter)
        made = encode(encoder, items, self.cache.unfinished(self.name, self.address))
        width = made.shape[1]
        if self.embeddings.reduce is not None:
            made = reduce_dim(made, self.embeddings.reduce.dim)
        if world().is_first:
            ItemVectors.of(made).save(folder)
            write_json(folder / MADE, how_made(encoder, items, width, made.shape[1], adapter))

    def load(self) -> ItemVectors:
        return ItemVectors.load(self.folder)


class ServedVectors(TextVectors):
    """Those of a finished run: where they are gone, that they are made again is said."""

    def make(self, folder: Path) -> None:
        progress.say(f"vectors: not in {self.cache.root}, so the items are encoded again")
        super().make(folder)
