"""What a stage is known by, and what of a graph is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmemb_bench.base.folders import sealed_folder
from llmemb_bench.base.seal import fault
from llmemb_bench.spec.cells import load_cells
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.cell import CellStages, Graph
from llmemb_bench.stages.recommender import FittedRecommender
from llmemb_bench.stages.stage import Cached

SPEC = """\
version: 1
name: graph
seeds: [1]
dataset: {use: table, events: events.csv, items: items.csv}
embeddings:
  encoder: {use: tfidf, dim: 4}
recommender:
  method: llmemb
  backbone: {use: sasrec, dim: 8, max_len: 6}
  objective: bce
  train: {epochs: 1}
evaluate: {protocols: [full, sampled-5]}
"""


class Words(Cached[str]):
    """A small stage: its words and those upstream; `made` tells what was made in which order."""

    name = "words"
    made: list[str]

    def __init__(self, cache: Cache, word: str, *upstream: Words) -> None:
        super().__init__(cache, {"word": word}, upstream)
        self.word, self.words = word, upstream

    def make(self, folder: Path) -> None:
        Words.made.append(self.word)
        (folder / "words").write_text(" ".join([*(stage.result() for stage in self.words), self.word]))

    def load(self) -> str:
        return (self.folder / "words").read_text()


@pytest.fixture
def cache(tmp_path) -> Cache:
    Words.made = []
    return Cache(tmp_path / "cache")


def test_a_stage_is_made_after_what_it_needs_and_only_once(cache):
    first = Words(cache, "a")
    both = Words(cache, "c", first, Words(cache, "b", first))
    assert [stage.word for stage in both.missing()] == ["a", "a", "b", "c"]
    for stage in both.missing():
        stage.fill()
    assert (both.result(), Words.made) == ("a a b c", ["a", "b", "c"])
    assert list(both.missing()) == []
    again = Words(cache, "c", first, Words(cache, "b", first))
    assert (again.identity, again.key, again.result()) == (both.identity, both.key, "a a b c")
    assert Words.made == ["a", "b", "c"]


def test_what_is_upstream_of_a_result_that_is_there_is_not_made_again(cache):
    first = Words(cache, "a")
    second = Words(cache, "b", first)
    second.result()
    (first.folder / "words").unlink()
    assert list(Words(cache, "b", Words(cache, "a")).missing()) == []


def test_settings_upstream_versions_and_files_all_count(cache, monkeypatch):
    def identity(word: str = "b", above: str = "a") -> str:
        return Words(cache, word, Words(cache, above)).identity

    known = {identity(), identity(word="x"), identity(above="x")}
    monkeypatch.setattr(Words, "version", 2)
    known.add(identity())
    with_file = Words(cache, "b")
    with_file.files = ("f" * 64,)
    assert len({*known, with_file.identity, Words(cache, "b").identity}) == 6


def test_looking_for_a_missing_result_leaves_nothing(cache):
    missing = Words(cache, "a")
    assert not missing.is_made
    assert not cache.has("recommender", "k" * 64)
    with pytest.raises(FileNotFoundError):
        missing.load()
    assert not cache.root.exists()


def test_an_empty_folder_is_no_result(tmp_path):
    place = tmp_path / "stage" / "key"
    with pytest.raises(RuntimeError, match="nothing was written"), sealed_folder(place, lambda: True):
        pass
    assert fault(place) == "is missing"


def stages(folder: Path, cache: Cache, *sets: str) -> CellStages:
    (folder / "spec.yaml").write_text(SPEC)
    [cell] = load_cells(folder / "spec.yaml", sets)
    return Graph(cache).cell(cell.spec, cell.seed)


def test_keys_wait_for_the_data_and_identities_do_not(events_csv, tmp_path, cache):
    cell = stages(tmp_path, cache)
    waiting = (cell.text, cell.recommender, *cell.candidates)
    assert {stage.key for stage in waiting} == {cell.split.content} == {None}
    assert cell.data.key == cell.data.identity
    before = [stage.identity for stage in waiting]
    assert not (cache.root / "data").exists()
    cell.data.result()
    assert None not in {cell.split.content, *(stage.key for stage in waiting)}
    assert [stage.identity for stage in waiting] == before


def test_same_stages_of_many_cells_are_one(events_csv, tmp_path, cache):
    (tmp_path / "spec.yaml").write_text(
        SPEC.replace("  method: llmemb\n", "") + "matrix: {recommender.method: [id_only, llmemb, popularity]}\n"
    )
    graph = Graph(cache)
    ids, aligned, counted = (graph.cell(cell.spec, cell.seed) for cell in load_cells(tmp_path / "spec.yaml"))
    assert ids.data is aligned.data is counted.data
    assert ids.split is aligned.split
    assert aligned.recommender.before == {"teacher": ids.recommender}
    assert ids.candidates[0] is counted.candidates[0]
    assert ids.recommender is not counted.recommender
    assert ids.recommender.text is None
    assert aligned.recommender.text is aligned.text


def test_the_order_of_cutoffs_trains_nothing_again_and_the_monitor_does(events_csv, tmp_path, cache):
    def identity(*sets: str) -> str:
        return stages(tmp_path, cache, *sets).recommender.identity

    known = identity("evaluate.cutoffs=[10, 5]")
    assert identity("evaluate.cutoffs=[5, 10]") == identity("evaluate.cutoffs=[5]") == known
    assert identity("recommender.train.monitor_cutoff=5") != known
    assert identity("evaluate.history=keep") != known  # the validation ranking has its items or not


def test_turning_to_the_next_cell_keeps_what_both_read_but_no_recommender(events_csv, tmp_path, cache):
    (tmp_path / "spec.yaml").write_text(SPEC.replace("seeds: [1]", "seeds: [1, 2]"))
    graph = Graph(cache)
    one, two = (graph.cell(cell.spec, cell.seed) for cell in load_cells(tmp_path / "spec.yaml"))
    graph.turn_to(one)
    data, vectors, drawn = one.data.result(), one.text.result(), one.candidates[0].result()
    method = one.recommender.result()
    graph.turn_to(two)
    assert (one.data.result() is data, one.text.result() is vectors) == (True, True)
    assert one.candidates[0].result() is not drawn
    assert one.recommender.result() is not method


def test_resources_are_told_before_and_better_after_the_data_are_known(events_csv, tmp_path, cache):
    cell = stages(tmp_path, cache)
    assert (cell.data.resources.gpu, cell.data.resources.memory_mb) == (False, 400)
    assert (cell.recommender.resources.gpu, cell.recommender.resources.memory_mb) == (True, None)
    cell.data.result()
    assert cell.recommender.resources.memory_mb == pytest.approx(4 * 4 * 21 * 8 / 1e6)
    counted = stages(tmp_path, cache, "recommender.method=popularity").recommender
    assert isinstance(counted, FittedRecommender)
    assert not counted.resources.gpu
