"""On the planted signal, where texts carry the taste that drives users, text beats ids on the tail."""

from __future__ import annotations

import json

import pytest

SPEC = """\
version: 1
name: planted
seeds: [42]
dataset: {use: synthetic, users: 1200, catalogue: 1200}
embeddings: {encoder: sentence_encoder}
recommender:
  backbone: {use: sasrec, dim: 64, max_len: 50, dropout: 0.2}
  objective: cross_entropy
  train: {batch_size: 64, epochs: 12, patience: 4}
evaluate: {cutoffs: [10], protocols: [full]}
matrix:
  recommender.method:
    - id_only
    - llm2x
    - llm_init
    - whitenrec_plus
    - unisrec
    - {use: unisrec, setting: transductive}
    - morec
    - sailrec
    - {use: rlmrec, form: generative}
    - faerec
"""
LEAST = 1.05
"""Of the NDCG of ids on the tail. Measured: 1.08 for `rlmrec`, 1.12 to 1.53 for the others. Two are not here: full
whitening of 384 dimensions leaves too little of the meaning for 1,200 items, which WhitenRec+ is there to mend, and
AlphaFuse's frozen vectors need hundreds of epochs: after 60 it is still rising, and still below ids."""


@pytest.mark.slow
def test_text_beats_ids_on_the_tail(cli, tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    common = ("--results", tmp_path / "results")
    assert cli("run", tmp_path / "spec.yaml", "--progress", "plain", *common).code == 0
    rows = json.loads(cli("report", "planted", *common, "--format", "json").out)["rows"]
    tail = {row["method"]: row["mean"] for row in rows if (row["bucket"], row["metric"]) == ("tail", "ndcg@10")}
    assert len(tail) == 10
    ids = tail.pop("id_only")
    assert {name: value / ids for name, value in tail.items() if value < LEAST * ids} == {}
