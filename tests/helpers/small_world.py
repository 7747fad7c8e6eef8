"""A spec that goes through every stage in seconds: a small decoder is tuned, a teacher and a student are trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.helpers.small_models import encoder

SPEC = """\
version: 1
name: tiny
seeds: [1]
dataset: {use: table, events: events.csv, items: items.csv}
embeddings:
  encoder: {use: causal_lm, checkpoint: ./model, lora: {rank: 2}}
  scft:
    augmentations: [drop_attributes]
    loss: info_nce
    steps: 6
    batch_size: 6
    learning_rate: 0.01
    checkpoint_seconds: 0
recommender:
  method: llmemb
  backbone: {use: sasrec, dim: 8, max_len: 6}
  objective: bce
  train: {epochs: 4, batch_size: 10, log_every: 1, checkpoint_seconds: 0}
evaluate: {protocols: [full, sampled-5]}
"""
OTHERWISE = ("manifest.json", "seal.json", "training.json")
"""Files that hold seconds, or the checksum of one that does: all others are the same bytes in every run."""


def title_of(item: int) -> str:
    """Two words that the miniature tokenizer knows, so that its models can tell the items apart."""
    return f"{('red', 'blue', 'soap', 'film', 'one')[item % 5]} {('two', 'kind', 'title', 'thing')[item // 5]}"


def make_world(folder: Path) -> Path:
    """Thirty users over twenty items, their texts, a decoder, and the spec, whose path is returned."""
    rng = np.random.default_rng(0)
    chosen = [rng.choice(20, size=6, replace=False) for _ in range(30)]
    events = [f"u{user},i{item},{time}\n" for user, items in enumerate(chosen) for time, item in enumerate(items)]
    items = [f"i{item},Thing number {item} {title_of(item)}\n" for item in range(20)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.csv").write_text("user,item,time\n" + "".join(events))
    (folder / "items.csv").write_text("item,title\n" + "".join(items))
    encoder("causal_lm", folder / "model")
    (folder / "spec.yaml").write_text(SPEC)
    return folder / "spec.yaml"


def bytes_of(results: Path) -> dict[str, bytes]:
    """Every file of the run folders and of the cache that has to be the same however often it is made."""
    found = [*results.glob("runs/*/[!.]*/*"), *results.glob(".cache/*/[!.]*/*")]
    return {str(path.relative_to(results)): path.read_bytes() for path in sorted(found) if path.name not in OTHERWISE}
