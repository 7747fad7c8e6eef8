"""Raw files to histories and a catalogue, their split, and what is known of both. Nothing here imports torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base import progress
from llmemb_bench.contracts import Dataset
from llmemb_bench.data.prepare import load, prepare
from llmemb_bench.data.statistics import Facts, describe
from llmemb_bench.evaluation.candidates import scarcest
from llmemb_bench.registry.build import build
from llmemb_bench.registry.kinds import DatasetChoice
from llmemb_bench.settings.split import SplitConfig
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.stage import Cached, Resources, Stage
from llmemb_bench.values.recdata import Items, RecData
from llmemb_bench.values.split import Fold, Split


class PreparedData(Cached[RecData]):
    """Histories and catalogue of a dataset."""

    name, version = "data", 5

    def __init__(self, cache: Cache, choice: DatasetChoice) -> None:
        self.choice, self.dataset = choice, build(Dataset, choice)
        super().__init__(cache, choice, files=[cache.fingerprint(path) for path in self.dataset.files()])

    @property
    def resources(self) -> Resources:
        number, unit = self.dataset.config.memory_limit.rstrip("iB")[:-1], self.dataset.config.memory_limit.rstrip("iB")
        return Resources(memory_mb=float(number) * 1000 ** ("KMGT".index(unit[-1]) - 1))

    def make(self, folder: Path) -> None:
        progress.say(f"data: preparing {self.choice.use}")
        prepare(self.dataset, folder)

    def load(self) -> RecData:
        return load(self.folder)


class SplitData(Stage[Split]):
    """Prepared data, cut into training, validation and test: cheap, and so never cached."""

    name = "split"

    def __init__(self, data: PreparedData, config: SplitConfig) -> None:
        super().__init__(data.cache, config.protocol(), [data])
        self.data, self.config = data, config
        self._scarcest: dict[Fold, tuple[int, int]] = {}

    @property
    def content(self) -> str | None:
        """Hash of the events and of how they are cut."""
        return self.result().key if self.data.is_made else None

    def learn_content(self) -> None:
        self.data.result()

    def scarcest(self, fold: Fold) -> tuple[int, int]:
        """`evaluation.candidates.scarcest`, found once for all cells."""
        if fold not in self._scarcest:
            self._scarcest[fold] = scarcest(self.result(), fold)
        return self._scarcest[fold]

    def load(self) -> Split:
        return Split(self.data.result(), self.config)


class Catalogue(Stage[Items]):
    """The items of prepared data."""

    name = "catalogue"

    def __init__(self, data: PreparedData) -> None:
        super().__init__(data.cache, None, [data])
        self.data = data

    @property
    def content(self) -> str | None:
        """Hash of ids and texts."""
        return self.result().key if self.data.is_made else None

    def learn_content(self) -> None:
        self.data.result()

    def load(self) -> Items:
        return self.data.result().catalogue


class TrainingCounts(Stage[NDArray[np.int64]]):
    """Training events of each item, item 1 first: which items training knows, and how well."""

    name = "training_counts"

    def __init__(self, split: SplitData) -> None:
        super().__init__(split.cache, None, [split])
        self.split = split

    @property
    def content(self) -> str | None:
        """Hash of the counts: other events that leave them as they are fit no transform again."""
        return hashlib.sha256(self.result().tobytes()).hexdigest() if self.split.data.is_made else None

    def load(self) -> NDArray[np.int64]:
        return self.split.result().popularity[1:]


class DatasetFacts(Cached[dict[str, Facts]]):
    """Statistics and leak report of a split."""

    name, version = "facts", 2

    def __init__(self, split: SplitData) -> None:
        super().__init__(split.cache, split.settings, [split.data])
        self.split = split

    def make(self, folder: Path) -> None:
        (folder / "facts.json").write_text(json.dumps(describe(self.split.result()), indent=1))

    def load(self) -> dict[str, Facts]:
        found: dict[str, Facts] = json.loads((self.folder / "facts.json").read_text())
        return found
