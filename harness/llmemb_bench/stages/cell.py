"""The graph of a cell. Of many cells the same stages are one, so that each is made and loaded once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llmemb_bench.contracts import Method
from llmemb_bench.registry.build import plugin_of
from llmemb_bench.registry.kinds import DatasetChoice
from llmemb_bench.registry.resolve import paths_in
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.settings.split import SplitConfig
from llmemb_bench.spec.frame import Embeddings, Recommender, Spec
from llmemb_bench.stages.adapter import TunedWeights
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.candidates import Candidates, TestRanks
from llmemb_bench.stages.dataset import Catalogue, DatasetFacts, PreparedData, SplitData, TrainingCounts
from llmemb_bench.stages.recommender import FittedRecommender, ServedRecommender, upstream_recommenders
from llmemb_bench.stages.stage import Stage
from llmemb_bench.stages.vectors import EncodedVectors, ServedVectors, TextVectors, TransformedVectors
from llmemb_bench.text.transforms import is_of_training

S = TypeVar("S", bound=Stage[Any])


@dataclass(frozen=True)
class CellStages:
    """The stages of one spec and seed, none of them made yet."""

    data: PreparedData
    split: SplitData
    facts: DatasetFacts
    text: TextVectors | None
    recommender: FittedRecommender
    candidates: tuple[Candidates, ...]
    ranks: TestRanks

    def all(self) -> Iterator[Stage[Any]]:
        """Every stage, some of them more than once."""
        for end in (self.ranks, self.facts, self.text):
            if end is not None:
                yield from end.walk()

    def missing(self) -> Iterator[Stage[Any]]:
        """What has to be made before the cell is ranked and written down, each after what it needs."""
        adapter = self.text.adapter if self.text is not None else None
        for end in (adapter, self.text, self.recommender, *self.candidates):
            if end is not None:
                yield from end.missing()


class Graph:
    """Builds the stages of cells over one cache. The weights of a finished `run` come from its folder: nothing is
    trained and no encoder tuned."""

    def __init__(self, cache: Cache, run: Path | None = None) -> None:
        self.cache, self.run = cache, run
        self._known: dict[str, Stage[Any]] = {}
        self._prints: dict[Path, str] = {}
        self._last: CellStages | None = None

    def cell(self, spec: Spec, seed: int) -> CellStages:
        """The stages of a spec without the parts that its method does not use."""
        split = self.split(spec.dataset, spec.split)
        text = self.vectors(spec.dataset, spec.split, spec.embeddings) if spec.embeddings is not None else None
        recommender = self._recommender(split, text, spec.recommender, spec.evaluate, seed)
        if self.run is not None:
            recommender = ServedRecommender(self.run, recommender)
        counts = [int(name.removeprefix("sampled-")) for name in spec.evaluate.protocols if name != "full"]
        candidates = tuple(self._one(Candidates(split, count, seed)) for count in counts)
        ranks = TestRanks(recommender, candidates, spec.evaluate)
        facts = self._one(DatasetFacts(split))
        return CellStages(split.data, split, facts, text, recommender, candidates, ranks)

    def data(self, choice: DatasetChoice) -> PreparedData:
        """The prepared data of a dataset."""
        return self._one(PreparedData(self.cache, choice))

    def split(self, choice: DatasetChoice, config: SplitConfig) -> SplitData:
        """The split of a dataset."""
        return self._one(SplitData(self.data(choice), config))

    def vectors(self, choice: DatasetChoice, config: SplitConfig, embeddings: Embeddings) -> TextVectors:
        """The item vectors of a dataset, after their transforms; `config` says what some of those are fitted on."""
        encoded, chosen = self.encoded(choice, embeddings), embeddings.transforms
        if not chosen:
            return encoded
        counts = self._one(TrainingCounts(self.split(choice, config))) if is_of_training(chosen) else None
        return self._one(TransformedVectors(encoded, chosen, self._prints_of(chosen), counts))

    def encoded(self, choice: DatasetChoice, embeddings: Embeddings) -> EncodedVectors:
        """The item vectors of a dataset as the encoder gives them."""
        catalogue = self._one(Catalogue(self.data(choice)))
        files, adapter = self._prints_of([embeddings.encoder, embeddings.scft]), None
        if embeddings.scft is not None:
            may_tune = self.run is None
            adapter = self._one(TunedWeights(catalogue, embeddings, embeddings.scft, files, may_tune=may_tune))
        make = EncodedVectors if self.run is None else ServedVectors
        return self._one(make(catalogue, embeddings.encoder, files, adapter))

    def turn_to(self, cell: CellStages) -> None:
        """Keep in memory what this cell reads and the last one did too, but for a recommender."""
        now = {id(stage) for stage in cell.all()}
        for stage in self._last.all() if self._last is not None else ():
            if id(stage) not in now or isinstance(stage, FittedRecommender):
                stage.release()
        self._last = cell

    def _recommender(
        self, split: SplitData, text: TextVectors | None, choices: Recommender, evaluate: Evaluate, seed: int
    ) -> FittedRecommender:
        before = {
            name: self._recommender(split, text, needed, evaluate, seed)
            for name, needed in upstream_recommenders(choices).items()
        }
        own = text if "text" in plugin_of(Method, choices.method).needs else None
        return self._one(FittedRecommender(split, own, before, choices, evaluate, seed))

    def _one(self, stage: S) -> S:
        """The stage itself, or the one that it is the same as."""
        known = self._known.setdefault(stage.identity, stage)
        return known if isinstance(known, type(stage)) else stage

    def _prints_of(self, settings: object) -> list[str]:
        return [self._print(path.resolve()) for path in paths_in(settings)]

    def _print(self, path: Path) -> str:
        if path not in self._prints:
            self._prints[path] = self.cache.fingerprint(path)
        return self._prints[path]
