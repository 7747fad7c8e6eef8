"""Texts to a tuned encoder (SCFT)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from llmemb_bench.base.errors import MissingError
from llmemb_bench.contracts import Augmentation, Loss
from llmemb_bench.registry.build import build
from llmemb_bench.settings.scft import ScftConfig
from llmemb_bench.spec.frame import Embeddings
from llmemb_bench.stages.dataset import Catalogue
from llmemb_bench.stages.stage import Resources
from llmemb_bench.stages.together import MadeTogether
from llmemb_bench.text.adapter import tune_and_save


class TunedWeights(MadeTogether[Path]):
    """The folder of the weights that SCFT gave an encoder, with its log. One that `may_tune` not is read or missed."""

    name, version = "adapter", 2

    def __init__(
        self, catalogue: Catalogue, embeddings: Embeddings, scft: ScftConfig, files: list[str], *, may_tune: bool
    ) -> None:
        settings = {"encoder": embeddings.encoder, "scft": scft}
        super().__init__(catalogue.cache, settings, [catalogue], files)
        self.catalogue, self.encoder, self.scft, self.may_tune = catalogue, embeddings.encoder, scft, may_tune

    @property
    def resources(self) -> Resources:
        return Resources(gpu=True)

    def filling(self) -> AbstractContextManager[Path | None]:
        """As of every stage; a MissingError where it may not be tuned and is not there."""
        if not self.may_tune and not self.is_made:
            raise MissingError(
                f"the encoder that SCFT tuned for this run is no longer in {self.cache.root}",
                where="embeddings.scft",
                fix="run the spec again, or name the results folder of the run with --results",
            )
        return super().filling()

    def make(self, folder: Path) -> None:
        augmentations = [build(Augmentation, choice) for choice in self.scft.augmentations]
        unfinished = self.cache.unfinished(self.name, self.address)
        items, loss = self.catalogue.result(), build(Loss, self.scft.loss)
        tune_and_save(self.encoder, items, augmentations, loss, self.scft, folder, unfinished)

    def load(self) -> Path:
        return self.folder
