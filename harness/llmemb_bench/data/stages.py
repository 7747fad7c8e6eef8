"""Prepared data and their statistics, each made once and kept on the shelf."""

from __future__ import annotations

import json
from pathlib import Path

from llmemb_bench import progress
from llmemb_bench.cache import Shelf, stage_key
from llmemb_bench.contracts import Dataset
from llmemb_bench.data.prepare import load, prepare
from llmemb_bench.data.recdata import RecData
from llmemb_bench.data.split import Split
from llmemb_bench.data.statistics import Facts, describe
from llmemb_bench.kinds import DatasetChoice
from llmemb_bench.spec.check import build

DATA, FACTS = 5, 2
"""Schema version of each stage's result."""


def prepared(choice: DatasetChoice, shelf: Shelf) -> RecData:
    """Histories and catalogue of a dataset."""
    dataset = build(Dataset, choice)
    key = _key(choice, dataset, shelf)
    if not shelf.has("data", key):
        progress.say(f"data: preparing {choice.use}")
    return load(shelf.get("data", key, lambda folder: prepare(dataset, folder)))


def prepared_folder(choice: DatasetChoice, shelf: Shelf) -> Path:
    """Where the prepared data lie, or will."""
    return shelf.place("data", _key(choice, build(Dataset, choice), shelf))


def _key(choice: DatasetChoice, dataset: Dataset, shelf: Shelf) -> str:
    return stage_key("data", DATA, choice, [shelf.fingerprint(path) for path in dataset.files()])


def described(split: Split, shelf: Shelf) -> dict[str, Facts]:
    """Statistics and leak report of a split."""
    data = split.data
    key = stage_key("facts", FACTS, [dict(data.tally), data.clock], [split.key, data.catalogue.key])

    def make(folder: Path) -> None:
        (folder / "facts.json").write_text(json.dumps(describe(split), indent=1))

    found: dict[str, Facts] = json.loads((shelf.get("facts", key, make) / "facts.json").read_text())
    return found
