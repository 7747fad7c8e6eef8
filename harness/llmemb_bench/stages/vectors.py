"""Texts to item vectors: the encoder, tuned if the spec says so, and the transforms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmemb_bench.base import progress
from llmemb_bench.contracts import Encoder, TextEncoder
from llmemb_bench.processes.world import world
from llmemb_bench.registry.build import plugin_of
from llmemb_bench.registry.kinds import EncoderChoice, TransformChoice
from llmemb_bench.runs.files import write_json
from llmemb_bench.stages.adapter import TunedWeights
from llmemb_bench.stages.dataset import Catalogue, TrainingCounts
from llmemb_bench.stages.stage import Resources, Stage
from llmemb_bench.stages.together import MadeTogether
from llmemb_bench.text import transforms
from llmemb_bench.text.encoding import build_encoder, encode
from llmemb_bench.text.manifest import MADE, how_made
from llmemb_bench.values.item_vectors import ItemVectors


class TextVectors(MadeTogether[ItemVectors]):
    """Vectors of the catalogue, and how they were made."""

    adapter: TunedWeights | None
    """What tuned their encoder."""

    def load(self) -> ItemVectors:
        return ItemVectors.load(self.folder)


class EncodedVectors(TextVectors):
    """As the encoder gives them."""

    name, version = "vectors", 4

    def __init__(
        self, catalogue: Catalogue, encoder: EncoderChoice, files: list[str], adapter: TunedWeights | None
    ) -> None:
        upstream: list[Stage[Any]] = [catalogue] if adapter is None else [catalogue, adapter]
        super().__init__(catalogue.cache, encoder, upstream, files)
        self.catalogue, self.encoder, self.adapter = catalogue, encoder, adapter

    @property
    def resources(self) -> Resources:
        return Resources(gpu=plugin_of(Encoder, self.encoder).trainable)

    def make(self, folder: Path) -> None:
        items, adapter = self.catalogue.result(), self.adapter.result() if self.adapter else None
        encoder = build_encoder(Encoder, self.encoder)
        if adapter is not None and isinstance(encoder, TextEncoder):
            encoder.load_tuned(adapter)
        made = encode(encoder, items, self.cache.unfinished(self.name, self.address))
        if world().is_first:
            ItemVectors.of(made).save(folder)
            write_json(folder / MADE, how_made(encoder, items, made.shape[1], adapter))


class ServedVectors(EncodedVectors):
    """Those of a finished run: where they are gone, that they are made again is said."""

    def make(self, folder: Path) -> None:
        progress.say(f"vectors: not in {self.cache.root}, so the items are encoded again")
        super().make(folder)


class TransformedVectors(TextVectors):
    """Encoded vectors after a list of transforms, and those as they were fitted. `counts`: of the events that some of
    them are fitted on."""

    name = "transformed"

    def __init__(
        self,
        encoded: EncodedVectors,
        choices: list[TransformChoice],
        files: list[str],
        counts: TrainingCounts | None,
    ) -> None:
        upstream: list[Stage[Any]] = [encoded] if counts is None else [encoded, counts]
        super().__init__(encoded.cache, choices, upstream, files)
        self.encoded, self.choices, self.counts, self.adapter = encoded, choices, counts, encoded.adapter

    def make(self, folder: Path) -> None:
        vectors = self.encoded.result().table[1:].numpy()
        if world().is_first:
            ids = list(self.encoded.catalogue.result().ids)
            counts = self.counts.result() if self.counts is not None else None
            fitted, made = transforms.fit_all(self.choices, vectors, ids, counts)
            transforms.save(fitted, folder)
            ItemVectors.of(made).save(folder)
            told = json.loads((self.encoded.folder / MADE).read_text())
            write_json(folder / MADE, told | transforms.how_transformed(self.choices, made.shape[1], counts))
        self.encoded.release()

    def fitted(self) -> list[transforms.FittedTransform]:
        """The transforms as they were fitted, for items that are not among these."""
        self.fill()
        return transforms.load(self.choices, self.folder)
