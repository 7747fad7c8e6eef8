"""The planted signal: text beats ids on the tail, and random vectors in its place do not."""

from __future__ import annotations

import json

import pytest

from tests import ROOT


@pytest.mark.slow
def test_on_the_planted_signal_text_wins_the_tail_and_random_vectors_do_not(cli, tmp_path):
    spec = ROOT / "specs" / "quickstart.yaml"
    common = ("--results", tmp_path, "--progress", "plain")
    assert cli("run", spec, *common).code == 0
    control = ("--set", "name=control", "--set", "embeddings={encoder: {use: random, dim: 128}}")
    assert cli("run", spec, *common, *control).code == 0
    tail = {}
    for experiment in ("quickstart", "control"):
        for seed in (42, 43):
            words = ("report", experiment, "--results", tmp_path, "--seed", seed, "--format", "json")
            for row in json.loads(cli(*words).out)["rows"]:
                if (row["protocol"], row["bucket"], row["metric"]) == ("full", "tail", "ndcg@10"):
                    tail[experiment, row["method"], seed] = row["mean"]
    for seed in (42, 43):
        gain = tail["quickstart", "llmemb", seed] - tail["quickstart", "id_only", seed]
        without = tail["control", "llmemb", seed] - tail["control", "id_only", seed]
        assert gain > 0
        assert without < gain / 4, (gain, without)
