"""Relations of a dataset to histories on disk, once for all datasets, in bounded memory.

DuckDB reads, filters, orders and numbers (data/events.py, data/texts.py) and spills beside the result; what is
left on disk is opened as a memory map.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from duckdb import DuckDBPyConnection

from llmemb_bench.base import progress
from llmemb_bench.base.errors import DataError
from llmemb_bench.contracts import Dataset
from llmemb_bench.data.events import Ordered, order_events
from llmemb_bench.data.faults import AGAIN, explained
from llmemb_bench.data.texts import write_texts
from llmemb_bench.data.zstandard import is_whole
from llmemb_bench.values.recdata import AttributeTable, Items, Prompt, RecData
from llmemb_bench.values.strings import ArrayWriter, Strings, StringsWriter

ROWS_PER_BLOCK = 1_000_000
NAMES_PER_BLOCK = 100_000
META = "meta.json"


def prepare(dataset: Dataset, folder: Path) -> RecData:
    """Read, filter, order and number into an empty folder; raises DataError where the raw data cannot be used."""
    _refuse_cut_off(dataset)
    spill = folder / "spill"
    try:
        with (
            reader(memory_limit=dataset.config.memory_limit, temp_directory=str(spill)) as db,
            progress.watch("data: reading", db.query_progress),
        ):
            ordered = order_events(db, dataset)
            progress.say(f"data: times are {ordered.clock}")
            n_items = _write_histories(db, ordered, folder)
            texts = write_texts(db, dataset, n_items, folder)
    except duckdb.Error as error:
        raise explained(error, dataset) from error
    shutil.rmtree(spill, ignore_errors=True)
    meta = {
        "attributes": texts.names,
        "prompt": asdict(dataset.config.prompt()),
        "time_unit": ordered.time_unit,
        "clock": ordered.clock,
        "tally": ordered.tally | texts.tally,
        "warnings": texts.warnings,
    }
    (folder / META).write_text(json.dumps(meta, ensure_ascii=False, indent=1), encoding="utf-8")
    return load(folder)


@contextmanager
def reader(**settings: Any) -> Iterator[DuckDBPyConnection]:
    """A connection that reads raw files: the same on every machine, and nothing is installed unasked."""
    with duckdb.connect(config={"autoinstall_known_extensions": False} | settings) as db:
        db.execute("set global TimeZone = 'UTC'")  # else a time without an offset is that of the machine's clock
        yield db


def _refuse_cut_off(dataset: Dataset) -> None:
    for path in dataset.files():
        if path.suffix == ".zst" and not is_whole(path):
            raise DataError("cannot be read: the zstd stream is cut off or broken", where=str(path), fix=AGAIN)


def _write_histories(db: DuckDBPyConnection, ordered: Ordered, folder: Path) -> int:
    """Write offsets, items, times, folds and names; returns the number of items."""
    numbers = db.execute("select code, number from item_name").fetchnumpy()
    number_of = np.zeros(int(numbers["code"].max()) + 1, dtype=np.int32)
    number_of[numbers["code"]] = numbers["number"]
    n_users, n_events = _scalar(db, "select count(*) from user_name"), _scalar(db, "select count(*) from final")
    lengths = np.zeros(n_users, dtype=np.int64)
    writers = {
        "items": ArrayWriter(folder / "items.npy", np.int32),
        "time": ArrayWriter(folder / "times.npy", np.int64),
    }
    if ordered.has_folds:
        writers["fold"] = ArrayWriter(folder / "folds.npy", np.int8)
    for start in range(0, n_events, ROWS_PER_BLOCK):
        block = db.execute(
            'select "user", item, "time", fold from final where rowid >= ? and rowid < ? order by rowid',
            [start, start + ROWS_PER_BLOCK],
        ).fetchnumpy()
        block["items"] = number_of[block["item"]]
        lengths += np.bincount(block["user"], minlength=n_users)
        for name, writer in writers.items():
            writer.append(block[name])
    for writer in writers.values():
        writer.close()
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    db.execute("drop table final")
    _write_names(db, "user_name", "users", 0, n_users, folder)
    _write_names(db, "item_name", "item_ids", 1, len(numbers["code"]), folder)
    return len(numbers["code"])


def _write_names(db: DuckDBPyConnection, table: str, name: str, first: int, count: int, folder: Path) -> None:
    writer = StringsWriter(folder, name)
    db.execute(f"create table sorted_name as select name from {table} order by number")
    for start in range(0, count, NAMES_PER_BLOCK):
        block = db.execute(
            "select name from sorted_name where rowid >= ? and rowid < ? order by rowid",
            [start, start + NAMES_PER_BLOCK],
        ).fetchnumpy()
        writer.append(block["name"].tolist())
    writer.close()
    db.execute("drop table sorted_name")


def _scalar(db: DuckDBPyConnection, query: str) -> int:
    row = db.execute(query).fetchone()
    return int(row[0]) if row else 0


def load(folder: Path) -> RecData:
    """What `prepare` wrote; arrays and texts stay on disk (memory map)."""
    meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
    offsets, items, times = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("offsets", "items", "times"))
    folds = np.load(folder / "folds.npy", mmap_mode="r") if (folder / "folds.npy").exists() else None
    ids, texts = Strings.load(folder, "item_ids"), Strings.load(folder, "texts")
    catalogue = Items(ids, AttributeTable(tuple(meta["attributes"]), texts, len(ids)), Prompt(**meta["prompt"]))
    users = Strings.load(folder, "users")
    said = (meta["tally"], meta["clock"], tuple(meta["warnings"]))
    return RecData(offsets, items, times, users, catalogue, meta["time_unit"], folds, *said)
