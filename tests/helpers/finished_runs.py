"""Finished runs for the tests of `recommend` and `export`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from llmemb_bench.cli import main

SPEC = """\
version: 1
name: mine
seeds: [1]
dataset: {use: table, events: events.csv, items: items.csv}
embeddings:
  encoder: {use: tfidf, dim: 8}
recommender:
  backbone: {use: sasrec, dim: 8, max_len: 4}
  objective: bce
  train: {epochs: 2}
evaluate: {protocols: [full]}
matrix:
  recommender.method: [popularity, cooccurrence, id_only, llmemb]
"""
WORDS = ("soap", "film", "lamp", "book", "rose", "red", "blue", "old")
SHARES = (0.3, 0.2, 0.15, 0.1, 0.1, 0.06, 0.05, 0.04)
METHODS = ("popularity", "cooccurrence", "id_only", "llmemb")


def name_of(item: int) -> str:
    """Item ids; one of them holds a comma."""
    return "i,19" if item == 19 else f"i{item}"


@dataclass(frozen=True)
class Finished:
    """A results folder with a run of every method, and what they were made from."""

    folder: Path
    histories: dict[str, list[str]]

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def run(self, method: str) -> Path:
        return next((self.results / "runs" / "mine").glob(f"{method}-*"))

    def training_events(self) -> dict[str, int]:
        """All events of a user but the last two are training."""
        seen = [item for history in self.histories.values() for item in history[:-2]]
        return {name_of(item): seen.count(name_of(item)) for item in range(20)}


def run_spec(spec: Path, results: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["llmemb-bench", "run", str(spec), "--results", str(results), "--progress", "none"])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code


@cache
def finish(folder: Path) -> Finished:
    """Thirty users with six events each over twenty items, four methods, two epochs; made once for all test files."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    histories = {f"u{user}": [name_of(item) for item in rng.permutation(20)[:6]] for user in range(30)}
    lines = [f'{user},"{item}",{time}\n' for user, items in histories.items() for time, item in enumerate(items)]
    (folder / "events.csv").write_text("user,item,time\n" + "".join(lines))
    # Items share words in uneven numbers, so that their TF-IDF vectors can be made again to the last digits but one.
    words = [" ".join(rng.choice(WORDS, size=4, p=SHARES)) for _ in range(20)]
    titles = [f'"{name_of(item)}",{words[item]} number {item}\n' for item in range(20)]
    (folder / "items.csv").write_text("item,title\n" + "".join(titles))
    (folder / "spec.yaml").write_text(SPEC)
    run_spec(folder / "spec.yaml", folder / "results")
    return Finished(folder, histories)
