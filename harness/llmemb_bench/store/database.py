"""`results/llmemb.duckdb`: an index over the run folders, which remain the truth.

A run writes its folder first and then enters it here in one short transaction under a lock file, because
one process at a time may hold a DuckDB file for writing. Reports open it read-only.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from llmemb_bench.errors import BenchError, MissingError

DATABASE = "llmemb.duckdb"
SECONDS_TO_WAIT = 60.0

_RUNS = {
    "folder": "varchar primary key",
    **dict.fromkeys(("key", "experiment", "dataset", "encoder", "method", "backbone"), "varchar"),
    "seed": "bigint",
    **dict.fromkeys(("configuration", "data", "split", "protocol_hash"), "varchar"),
    "warnings": "varchar[]",
    "finished": "double",
}
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
    found = db.execute("select column_name from information_schema.columns where table_name = 'runs'").fetchall()
    again: list[Path] = []
    if {name for (name,) in found} not in (set(), set(_RUNS)):
        db.execute("drop table runs")
        db.execute("drop table metrics")
        again = [
            manifest.parent for manifest in sorted(results.glob("runs/*/*/manifest.json")) if _is_current(manifest)
        ]
    for table, columns in (("runs", _RUNS), ("metrics", _METRICS)):
        typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        db.execute(f"create table if not exists {table} ({typed})")
    return again


def _is_current(manifest: Path) -> bool:
    return set(_RUNS) - {"folder", "finished"} <= set(json.loads(manifest.read_text()))


def _enter(db: duckdb.DuckDBPyConnection, results: Path, run: Path) -> None:
    folder = run.relative_to(results).as_posix()
    manifest = json.loads((run / "manifest.json").read_text())
    known = db.execute("select key from runs where folder = ?", [folder]).fetchone()
    if known is not None and known[0] == manifest["key"]:
        return
    measured = json.loads((run / "metrics.json").read_text())["metrics"]
    db.begin()
    db.execute("delete from metrics where folder = ?", [folder])
    db.execute("delete from runs where folder = ?", [folder])
    about = manifest | {"folder": folder, "finished": manifest["started"] + manifest["seconds"]}
    db.execute(f"insert into runs values ({_marks(_RUNS)})", [about[column] for column in _RUNS])
    rows = [row | {"folder": folder} for row in measured]
    db.executemany(
        f"insert into metrics values ({_marks(_METRICS)})", [[row[column] for column in _METRICS] for row in rows]
    )
    db.commit()


def _marks(columns: dict[str, str]) -> str:
    return ", ".join("?" * len(columns))


def open_store(results: Path) -> duckdb.DuckDBPyConnection:
    """The store, read-only; MissingError where nothing was run yet."""
    path = results / DATABASE
    if not path.is_file():
        raise MissingError(f"no results in {results}", fix="llmemb-bench run specs/quickstart.yaml")
    return _connect(path, read_only=True)


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
