"""How far it is from the command line to a backbone: few calls, so that a reader finds the way."""

from __future__ import annotations

import traceback
from pathlib import Path

import llmemb_bench
from llmemb_bench.contracts import VectorMethod
from llmemb_bench.registry.entries import find

SPEC = """\
version: 1
name: walk
seeds: [1]
dataset: {use: table, events: events.csv}
recommender:
  method: id_only
  backbone: {use: sasrec, dim: 8, max_len: 6}
  objective: bce
  train: {epochs: 1}
evaluate: {protocols: [full]}
"""
MOST = 8


def calls() -> list[str]:
    """Our functions under way, from the verb on, without the caller."""
    ours = [frame for frame in traceback.extract_stack()[:-2] if "llmemb_" in frame.filename]
    here = Path(llmemb_bench.__file__).parent
    names = [
        f"{Path(frame.filename).relative_to(here)}:{frame.name}"
        for frame in ours
        if here in Path(frame.filename).parents
    ]
    return names[names.index("cli/app.py:run") :]


def test_a_training_step_and_a_test_ranking_are_few_calls_away(cli, events_csv, tmp_path, monkeypatch):
    ways: dict[str, list[str]] = {}

    def note(name: str, way: str) -> None:
        plain = getattr(VectorMethod, name)

        def told(self, *words):
            ways[way] = calls()
            return plain(self, *words)

        monkeypatch.setattr(VectorMethod, name, told)

    note("states_of", "training step")
    note("states", "ranking")  # the test ranking comes last
    assert issubclass(find("methods", "id_only").load(), VectorMethod)
    (tmp_path / "spec.yaml").write_text(SPEC)
    assert cli("run", tmp_path / "spec.yaml", "--results", tmp_path / "results", "--progress", "none").code == 0
    assert max(map(len, ways.values())) <= MOST, ways
    assert "candidates.py:load" in " ".join(ways["ranking"])
    assert "gradients.py:backward" in ways["training step"][-1]
