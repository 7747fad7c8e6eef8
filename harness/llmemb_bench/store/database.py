"""`results/llmemb.duckdb`: an index over the run folders, which remain the truth.

A run writes its folder first and then enters it here in one short transaction under a lock file, because
one process at a time may hold a DuckDB file for writing. Reports open it read-only.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import duckdb
from filelock import FileLock, Timeout

from llmemb_bench.errors import BenchError, MissingError
from llmemb_bench.store.folders import SPEC, read_yaml
from llmemb_bench.training.ending import endings

DATABASE = "llmemb.duckdb"
SECONDS_TO_WAIT = 60.0
OLDEST = 4
"""Schema of the oldest run folders that hold all columns."""

_RUNS = {
    "folder": "varchar primary key",
    **dict.fromkeys(("key", "experiment", "dataset", "encoder", "method", "backbone"), "varchar"),
    "seed": "bigint",
    **dict.fromkeys(("configuration", "series", "settings", "data", "split", "protocol_hash"), "varchar"),
    "warnings": "varchar[]",
    **dict.fromkeys(("n_items", "head_items", "head_least_events", "head_tied"), "bigint"),
    "monitor": "varchar",
    "validation_score": "double",
    **dict.fromkeys(("best_epoch", "epochs", "steps", "teacher_steps"), "bigint"),
    **dict.fromkeys(("training_seconds", "teacher_seconds", "finished"), "double"),
}
"""Of a run without training, all that is said of training is null; a teacher's budget holds its own teacher's too.
`settings` is the resolved spec as JSON, for reports to say what differs."""
_METRICS = {
    **dict.fromkeys(("folder", "protocol", "bucket", "metric"), "varchar"),
    "value": "double",
    "n_users": "bigint",
}


def enter(results: Path, run: Path) -> None:
    """Add a run folder, or bring it up to date; nothing is written if it is there already."""
    lock = FileLock(results / f".{DATABASE}.lock", timeout=SECONDS_TO_WAIT)
    try:
        with lock, _connect(results / DATABASE, read_only=False) as db:
            for folder in {run, *_make_tables(db, results)}:
                _enter(db, results, folder)
    except Timeout as error:
        raise BenchError(
            f"another process has held {DATABASE} for {SECONDS_TO_WAIT:.0f} s",
            where=str(results),
            fix="end it, then run the same command again; nothing is computed twice",
        ) from error


def _make_tables(db: duckdb.DuckDBPyConnection, results: Path) -> list[Path]:
    """Create what is not there; tables of an older form are made anew from the run folders, which it returns."""
    again: list[Path] = []
    if _columns(db) not in (set(), set(_RUNS)):
        db.execute("drop table runs")
        db.execute("drop table metrics")
        again = [
            manifest.parent for manifest in sorted(results.glob("runs/*/*/manifest.json")) if _is_current(manifest)
        ]
    for table, columns in (("runs", _RUNS), ("metrics", _METRICS)):
        typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        db.execute(f"create table if not exists {table} ({typed})")
    return again


def _columns(db: duckdb.DuckDBPyConnection) -> set[str]:
    found = db.execute("select column_name from information_schema.columns where table_name = 'runs'").fetchall()
    return {name for (name,) in found}


def _is_current(manifest: Path) -> bool:
    """Whether a run folder says all that is entered; one of an older form is entered when it is run again."""
    return int(json.loads(manifest.read_text()).get("schema", 0)) >= OLDEST


def _enter(db: duckdb.DuckDBPyConnection, results: Path, run: Path) -> None:
    folder = run.relative_to(results).as_posix()
    manifest = json.loads((run / "manifest.json").read_text())
    known = db.execute("select key from runs where folder = ?", [folder]).fetchone()
    if known is not None and known[0] == manifest["key"]:
        return
    measured = json.loads((run / "metrics.json").read_text())
    db.begin()
    db.execute("delete from metrics where folder = ?", [folder])
    db.execute("delete from runs where folder = ?", [folder])
    about = {"series": manifest["configuration"]} | manifest
    about |= {"folder": folder, "finished": manifest["started"] + manifest["seconds"]}
    settings = read_yaml(run / SPEC)
    about |= {"settings": json.dumps(settings), "warnings": _warnings(manifest, measured["training"], settings)}
    about |= _cut(measured["head"]) | _training(measured["training"])
    db.execute(f"insert into runs values ({_marks(_RUNS)})", [about[column] for column in _RUNS])
    rows = [row | {"folder": folder} for row in measured["metrics"]]
    db.executemany(
        f"insert into metrics values ({_marks(_METRICS)})", [[row[column] for column in _METRICS] for row in rows]
    )
    db.commit()


def _warnings(manifest: dict[str, Any], record: dict[str, Any] | None, settings: dict[str, Any]) -> list[str]:
    """Those of the run, and how its training ended: said here, so that runs of any age have it said."""
    if record is None:
        return list(manifest["warnings"])
    return [*manifest["warnings"], *endings(record, settings.get("recommender", {}).get("train", {}))]


def _cut(head: dict[str, int | None]) -> dict[str, int | None]:
    columns = {"n_items": "n_items", "head_items": "n_head", "head_least_events": "least_events", "head_tied": "n_tied"}
    return {column: head[key] for column, key in columns.items()}


def _training(record: dict[str, Any] | None) -> dict[str, Any]:
    """What chose the weights, and the steps that they took."""
    if record is None:
        return dict.fromkeys(("monitor", "validation_score", "best_epoch", "epochs", "steps", "teacher_steps"))
    taught, teacher = 0, record["teacher"]
    while teacher is not None:
        taught, teacher = taught + teacher["steps"], teacher["teacher"]
    return record | {"monitor": f"{record['monitor']} ({record['protocol']})", "teacher_steps": taught}


def _marks(columns: dict[str, str]) -> str:
    return ", ".join("?" * len(columns))


def open_store(results: Path) -> duckdb.DuckDBPyConnection:
    """The store, read-only; MissingError where nothing was run yet, by this version or one of the same form."""
    path = results / DATABASE
    if not path.is_file():
        raise MissingError(f"no results in {results}", fix="llmemb-bench run specs/quickstart.yaml")
    db = _connect(path, read_only=True)
    if _columns(db) != set(_RUNS):
        db.close()
        raise MissingError("is of an older form", where=str(path), fix="run a spec again, which makes it anew")
    return db


def _connect(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Open the file; while another process holds it, try again."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only)
        except duckdb.IOException as error:
            if "lock" not in str(error).lower() or time.monotonic() > deadline:
                raise BenchError(
                    f"cannot be opened: {str(error).splitlines()[0]}",
                    where=str(path),
                    fix="move the file away and run again; the run folders hold everything",
                ) from error
            time.sleep(0.1)
