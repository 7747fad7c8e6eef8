"""Methods with more state than weights: a run that is cut off goes on to the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmemb_bench.base.errors import Exit
from llmemb_bench.training import loop

FILES = ("weights.safetensors", "events.jsonl", "per_user.parquet", "metrics.json")
SPEC = """
version: 1
name: resumed
dataset: {{use: synthetic, users: 60, catalogue: 80}}
embeddings: {{encoder: {{use: tfidf, dim: 12}}}}
recommender:
  method: {method}
  backbone: {{use: {backbone}, dim: 8, max_len: 6}}
  objective: bce
  train: {{epochs: 3, batch_size: 32, checkpoint_seconds: 0, start: published}}
evaluate: {{protocols: [full]}}
"""
CASES = [
    ("LlmEsr", "sasrec", "{use: llm_esr, similar: 3}", 3),
    ("LlmEsr", "bert4rec", "{use: llm_esr, similar: 3, refresh: 2}", 3),
    ("LlmEsr", "gru4rec", "{use: llm_esr, similar: 3, refresh: 1, ids: upstream}", 1),
    ("Melt", "sasrec", "{use: melt}", 3),
    ("Melt", "bert4rec", "{use: melt}", 1),
    ("Cities", "sasrec", "{use: cities, heads: 2, epochs: 3, batch_size: 16}", 2),
]
"""Class, backbone, method, and the step that training is cut off at."""


class KilledError(Exception):
    """The power goes."""


@pytest.mark.parametrize(("owner", "backbone", "method", "stop"), CASES, ids=lambda value: str(value))
def test_a_run_that_is_cut_off_goes_on_to_the_same_bytes(owner, backbone, method, stop, tmp_path, monkeypatch, cli):
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.format(backbone=backbone, method=method))
    whole = cli("run", spec, "--results", tmp_path / "whole")
    assert whole.code == Exit.DONE, whole.err
    step, steps = loop._Training._step, iter(range(100))

    def cut(self, batch):
        if type(self.method).__name__ == owner and next(steps) == stop:
            raise KilledError
        step(self, batch)

    monkeypatch.setattr(loop._Training, "_step", cut)
    assert cli("run", spec, "--results", tmp_path / "cut").code == Exit.FAILED
    monkeypatch.setattr(loop._Training, "_step", step)
    again = cli("run", spec, "--results", tmp_path / "cut")
    assert again.code == Exit.DONE, again.err
    assert "resuming after step" in again.err
    [left], [right] = ((tmp_path / name).glob("runs/resumed/*") for name in ("whole", "cut"))
    assert [name for name in FILES if (left / name).read_bytes() != (right / name).read_bytes()] == []
    _serves_what_it_ranked(cli, left, tmp_path)


def _serves_what_it_ranked(cli, run: Path, folder: Path) -> None:
    """Loaded without the recommenders it was built on, it still has finite scores."""
    served = cli("export", run, "--output", folder / "export", "--results", folder / "whole")
    assert served.code == Exit.DONE, served.err
