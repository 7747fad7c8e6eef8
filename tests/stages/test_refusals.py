"""What spec and data forbid together is said with its line before any cell is tuned or trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import Ran

SPEC = """\
version: 1
name: refused
seeds: [1]
dataset: {use: table, events: events.csv, items: items.csv}
embeddings:
  encoder: {use: random, dim: 6}
recommender:
  method: {use: llmemb, alignment: {weight: 0.0}}
  backbone: {use: sasrec, dim: 8, max_len: 6}
  objective: bce
  train: {epochs: 1}
evaluate: {protocols: [full], cutoffs: [5]}
"""
TFIDF = "embeddings.encoder={use: tfidf, dim: 6}"
REFUSED: dict[str, tuple[list[str], str]] = {
    "candidates": (
        ["evaluate.protocols=[full, sampled-15]"],
        "sampled-15 needs 15 items outside a user's events; user",
    ),
    "candidates of validation": (
        ["recommender.train.monitor_protocol=sampled-17"],
        "sampled-17 needs 17 items outside a user's events; user",
    ),
    "cut-off": (["evaluate.cutoffs=[21]"], "the cut-off 21 is larger than the catalogue of 20 items"),
    "reduction beyond the items": (
        [TFIDF, "embeddings.transforms=[standardize, {use: pca, dim: 21}]"],
        "embeddings.transforms.1.dim: PCA cannot give 21 dimensions of 20 items -> use at most 20",
    ),
    "reduction beyond the width": (
        ["embeddings.transforms=[{use: pca, dim: 7}]"],
        "embeddings.transforms.0.dim: PCA cannot give 7 dimensions of 20 items with 6 each -> use at most 6",
    ),
    "width after another transform": (
        ["embeddings.transforms=[{use: pca, dim: 5}, {use: select_dims, dim: 6, rule: uniform}]"],
        "embeddings.transforms.1.dim: there are no 6 dimensions to select, vectors have 5 -> use at most 5",
    ),
    "groups of another size": (
        ["embeddings.transforms=[{use: whiten, groups: 4}]"],
        "embeddings.transforms.0.groups: 6 dimensions do not fall into 4 equal groups -> groups: 3",
    ),
    "no adapter": (
        ["recommender.method={use: llmemb, adapter: none, alignment: {weight: 0.0}}"],
        "recommender.method.adapter: without an adapter the text vectors must be as wide as the recommender's: they "
        "have 6 dimensions, should have 8",
    ),
    "no adapter after a reduction": (
        [TFIDF, "embeddings.transforms=[{use: pca, dim: 5}]", "recommender.method={use: llmemb, adapter: none}"],
        "they have 5 dimensions, should have 8",
    ),
    "text narrower than the table it starts": (
        ["recommender.method=llm2x"],
        "recommender.method: the start of the id table takes 8 dimensions of 20 text vectors with 6 each "
        "-> dim: 6 for the backbone, or wider vectors",
    ),
    "text narrower than what is left of it": (
        ["recommender.method=alphafuse"],
        "alphafuse takes 8 dimensions of 20 text vectors with 6 each",
    ),
    "groups of a method": (
        ["recommender.method=whitenrec_plus"],
        "recommender.method.groups: the text vectors' 6 dimensions do not fall into 4 equal groups -> groups: 3",
    ),
    "rows of an adapter alone": (
        ["recommender.method=morec", "recommender.train.rows=touched"],
        "the method has no id table",
    ),
    "rows of no table": (["recommender.train.rows=touched"], "the method has no id table"),
    "rows of no table, width unknown": ([TFIDF, "recommender.train.rows=touched"], "the method has no id table"),
    "another width of the teacher": (
        ["recommender.method={use: llmemb, alignment: {backbone: {use: gru4rec, dim: 4}}}"],
        "the teacher's backbone has dim 4, the recommender's 8",
    ),
}


@pytest.fixture
def run(cli, events_csv, tmp_path, monkeypatch):
    """A spec that must not get as far as any work."""
    for work in ("vectors.encode", "adapter.tune_and_save", "recommender.train"):
        monkeypatch.setattr(f"llmemb_bench.stages.{work}", lambda *_, work=work: pytest.fail(f"{work} was called"))

    def call(sets: list[str], text: str = SPEC) -> Ran:
        (tmp_path / "spec.yaml").write_text(text)
        words = [word for value in sets for word in ("--set", value)]
        return cli("run", tmp_path / "spec.yaml", "--results", tmp_path / "results", "--progress", "plain", *words)

    return call


@pytest.mark.parametrize(("sets", "words"), REFUSED.values(), ids=REFUSED)
def test_it_is_said_before_anything_is_encoded_or_trained(sets, words, run):
    ran = run(sets)
    assert ran.code == 2, ran.err
    [line] = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert words in line
    assert line.startswith("error: --set ")  # where it was written


def test_it_is_said_with_file_and_line(run, tmp_path):
    ran = run([], SPEC.replace("[full]", "[sampled-15]"))
    assert f"error: {tmp_path / 'spec.yaml'}:12: evaluate.protocols: sampled-15 needs" in ran.err


def test_items_without_text_and_users_with_all_items(run, tmp_path):
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"i{item},\n" for item in range(20)))
    assert "20 of 20 items have no text" in run([TFIDF]).err
    everything = "".join(f"u99,i{time % 20},{time}\n" for time in range(22))
    with (tmp_path / "events.csv").open("a") as file:
        file.write(everything)
    ran = run(["recommender.method=id_only"])
    assert "user 'u99' has every item in training" in ran.err


def test_every_cell_is_looked_at_before_the_first_is_trained(run, monkeypatch):
    trained: list[str] = []
    monkeypatch.setattr("llmemb_bench.stages.vectors.encode", lambda *_: trained.append("encoded") or 1 / 0)
    text = SPEC + "matrix: {evaluate.protocols: [[full], [sampled-15]]}\n"
    lines = [line for line in run([], text).err.splitlines() if not line.startswith("data: ")]
    assert lines[0].startswith("[2/2] ")
    assert "sampled-15 needs 15 items" in lines[1]
    assert lines[2].startswith("[1/2] ")
    assert trained == ["encoded"]


PLUGIN = '''\
"""An encoder that takes no catalogue of an even size."""

from llmemb_bench.contracts import ItemEncoder
from llmemb_bench.registry.config import Config
from llmemb_bench.base.errors import Problem


class Odd(ItemEncoder):
    config: Config

    def __init__(self, config):
        self.config = config

    def encode(self, items):
        raise AssertionError

    @classmethod
    def refuses(cls, config, facts):
        where = "embeddings.encoder"
        return [] if facts.n_items % 2 else [Problem(where, f"{facts.n_items} items are even", "drop one")]
'''


def test_a_plugin_says_what_it_refuses(run, tmp_path, monkeypatch):
    from llmemb_bench.registry import entries as registry

    folder = tmp_path / "odd_plugins" / "encoders"
    folder.mkdir(parents=True)
    (folder / "odd.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    odd = registry.Entry("encoders", "odd", "odd_plugins.encoders.odd", "odd", Path(folder / "odd.py"))
    known = registry.entries()
    monkeypatch.setattr(registry, "entries", lambda: (*known, odd))
    ran = run(["embeddings.encoder=odd"])
    assert ran.code == 2
    assert "error: --set embeddings.encoder=odd: embeddings.encoder: 20 items are even -> drop one" in ran.err
