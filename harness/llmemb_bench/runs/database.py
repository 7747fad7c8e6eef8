"""`results/llmemb.duckdb`: an index over the run folders, which remain the truth.

A run writes its folder first and then enters it here in one short transaction under a lock file, because
one process at a time may hold a DuckDB file for writing. Reports open it read-only. Before a run and before a report
it is compared with the run folders: what it lacks is entered, what has no folder any more is taken out, and a damaged
file is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from filelock import FileLock, Timeout

from llmemb_bench.base import progress
from llmemb_bench.base.disk import refusal, refusals
from llmemb_bench.base.errors import BenchError, DataError, MissingError
from llmemb_bench.base.folders import remove
from llmemb_bench.base.seal import SEAL
from llmemb_bench.runs.ending import endings
from llmemb_bench.runs.files import read_yaml
from llmemb_bench.runs.schema import MANIFEST, METRICS, SPEC, fault_of_run, newer, schema_of

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
    **dict.fromkeys(("stamp", "content"), "varchar"),
}
"""Of a run without training, all that is said of training is null; a teacher's budget holds its own teacher's too.
`settings` is the resolved spec as JSON, for reports to say what differs; `stamp` hashes the files that a run was
entered from, `content` its own row and its rows of `metrics`."""
_METRICS = {
    **dict.fromkeys(("folder", "protocol", "bucket", "metric"), "varchar"),
    "value": "double",
    "n_users": "bigint",
}
_TABLES = {"runs": _RUNS, "metrics": _METRICS}
_FORM = {(table, name) for table, columns in _TABLES.items() for name in columns}
_ALONE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
"""Nothing is fetched to read a file that is another program's."""
_CONTENT = """
select folder, md5(string_agg(concat_ws('|', protocol, bucket, metric, coalesce(value::varchar, 'null'), n_users), ';'
                              order by protocol, bucket, metric)) as content
from metrics group by folder
"""


def enter(results: Path, run: Path) -> None:
    """Add a run folder, or bring it up to date; a damaged store is made again."""
    _write(results, run)


def compare(results: Path) -> None:
    """Bring the store up to date with all run folders and say what it lacked; a damaged one is made again.

    Raises MissingError where a newer version wrote it, or where it has to be written and the disk refuses.
    """
    if not _is_current(results):
        _write(results)


def open_store(results: Path) -> duckdb.DuckDBPyConnection:
    """The store, read-only and up to date; where the disk takes no new one, a copy in memory.

    Raises MissingError where nothing was run yet, or where a newer version wrote the store.
    """
    path = results / DATABASE
    if not path.is_file() and not _folders(results):
        raise MissingError(f"no results in {results}", fix="llmemb-bench run specs/quickstart.yaml")
    if _is_current(results):
        return _connect(path, read_only=True)
    try:
        left_out = _write(results)
        db = _connect(path, read_only=True)
    except MissingError as error:
        reason = f"lacks runs or is damaged, and cannot be written ({error.problems[0].finding})"
        progress.alert(f"{path}: {reason}; the run folders are read instead")
        db = duckdb.connect()
        _make_tables(db)
        left_out = _fill(db, results, _folders(results)).left_out
    for reason, names in left_out.items():
        more = f", and {len(names) - 1} more like it" if len(names) > 1 else ""
        progress.alert(f"{results / names[0]}{more}: left out, {reason}")
    return db


def _is_current(results: Path) -> bool:
    """Whether the store can be read to its last row and says what the run folders say."""
    path, folders = results / DATABASE, _folders(results)
    if not path.is_file():
        return not folders
    try:
        with _connect(path, read_only=True) as db:
            _refuse_newer(db, path)
            if _columns(db) != _FORM:
                return False
            return _known(db) == {name: _stamp(place) for name, place in folders.items()} or not _has_runs(results)
    except duckdb.Error:
        return False


def _write(results: Path, run: Path | None = None) -> dict[str, list[str]]:
    """Enter one run folder or all; returns reason to names of those that cannot be entered."""
    path = results / DATABASE
    with refusals(path), _locked(results):
        try:
            return _update(results, run)
        except duckdb.Error as error:
            if refusal(error):
                raise
            reason = _first_line(error)
            if not _has_runs(results):
                raise DataError(f"is damaged ({reason})", where=str(path), fix="remove it and run again") from error
            progress.alert(f"{path}: is damaged ({reason}); made again from the run folders")
        remove(path)
        remove(path.with_name(f"{DATABASE}.wal"))
        return _update(results, None, is_reported=False)


def _update(results: Path, run: Path | None, *, is_reported: bool = True) -> dict[str, list[str]]:
    path, folders = results / DATABASE, _folders(results)
    with _connect(path, read_only=False) as db:
        _refuse_newer(db, path)
        is_new = _make_tables(db)
        own = {} if run is None else {run.relative_to(results).as_posix(): run}
        done = _fill(db, results, own if own and not is_new else folders | own)
    entered = done.entered - own.keys()
    if is_reported and entered:
        progress.alert(f"{path}: was missing {len(entered)} of {len(folders)} runs; added from their folders")
    if done.gone:
        progress.alert(f"{path}: {len(done.gone)} of its runs no longer have a folder; removed")
    return done.left_out


@contextmanager
def _locked(results: Path) -> Iterator[None]:
    try:
        with FileLock(results / f".{DATABASE}.lock", timeout=SECONDS_TO_WAIT):
            yield
    except Timeout as error:
        raise BenchError(
            f"another process has held {DATABASE} for {SECONDS_TO_WAIT:.0f} s",
            where=str(results),
            fix="end it, then run the same command again; nothing is computed twice",
        ) from error


def _has_runs(results: Path) -> bool:
    """Whether there is anything to compare with: a store may be read where only it was copied to."""
    return (results / "runs").is_dir()


def _folders(results: Path) -> dict[str, Path]:
    """Name to run folder, damaged ones too."""
    found = sorted(results.glob("runs/[!.]*/[!.]*"))
    runs = [path for path in found if any(os.path.lexists(path / name) for name in (MANIFEST, SEAL))]
    return {path.relative_to(results).as_posix(): path for path in runs}


def _stamp(run: Path) -> str:
    """Hash of the two files that a run is entered from; empty where one cannot be read."""
    try:
        return hashlib.sha256((run / MANIFEST).read_bytes() + (run / METRICS).read_bytes()).hexdigest()
    except OSError:
        return ""


def _refuse_newer(db: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Columns that this version does not know are a later version's; older ones had fewer."""
    found = _columns(db)
    unknown = [f"{table}.{name}" for table, name in sorted(found - _FORM) if table in _TABLES]
    if unknown:
        raise _newer(path, f"it has {unknown[0]}")


def _newer(path: Path, reason: str) -> MissingError:
    return MissingError(
        f"was written by a newer version of llmemb-bench ({reason})",
        where=str(path),
        fix="pip install --upgrade llmemb-bench; or move the file away: it is made again from the run folders",
    )


def _columns(db: duckdb.DuckDBPyConnection) -> set[tuple[str, str]]:
    query = "select table_name, column_name from information_schema.columns where table_name in ('runs', 'metrics')"
    return {(table, name) for table, name in db.execute(query).fetchall()}


def _make_tables(db: duckdb.DuckDBPyConnection) -> bool:
    """Make the tables where they are not there in today's form; returns whether they are new."""
    if _columns(db) == _FORM:
        return False
    for table, columns in _TABLES.items():
        typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        db.execute(f"drop table if exists {table}")
        db.execute(f"create table {table} ({typed})")
    return True


def _known(db: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Name to stamp of each run; the stamp is empty where its rows are not those that were entered."""
    rows = [dict(zip(_RUNS, row, strict=True)) for row in db.execute("select * from runs").fetchall()]
    content = dict(db.execute(_CONTENT).fetchall())
    return {
        row["folder"]: row["stamp"] if row["content"] == _content(row, content.get(row["folder"], "")) else ""
        for row in rows
    }


def _content(row: dict[str, Any], of_metrics: str) -> str:
    """Hash of a row of `runs`, but for this hash, and of its rows of `metrics`."""
    content = json.dumps([row[name] for name in _RUNS if name != "content"])
    return hashlib.sha256((content + of_metrics).encode()).hexdigest()


@dataclass
class _Filled:
    """What became of run folders, by name."""

    entered: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Reason to names."""


def _fill(db: duckdb.DuckDBPyConnection, results: Path, folders: dict[str, Path]) -> _Filled:
    """Make the rows of these folders what the folders say."""
    known, done = _known(db), _Filled()
    if _has_runs(results):
        done.gone = known.keys() - _folders(results).keys()
    for name, run in folders.items():
        stamp = _stamp(run)
        if stamp and known.get(name) == stamp:
            continue
        reason = _unfit(run) or _enter(db, name, run, stamp)
        if reason:
            done.left_out.setdefault(reason, []).append(name)
            _delete(db, name)
        else:
            done.entered.add(name)
    for name in done.gone:
        _delete(db, name)
    return done


def _unfit(run: Path) -> str:
    """Why a run folder is not entered, and the way out; empty if it is."""
    again = "-> run its spec again"
    if reason := newer(run):
        return f"{reason} -> pip install --upgrade llmemb-bench"
    if reason := fault_of_run(run, MANIFEST, METRICS, SPEC):
        return f"{reason} {again}"
    return f"an older version wrote it {again}" if schema_of(run) < OLDEST else ""


def _delete(db: duckdb.DuckDBPyConnection, name: str) -> None:
    db.execute("delete from metrics where folder = ?", [name])
    db.execute("delete from runs where folder = ?", [name])


def _enter(db: duckdb.DuckDBPyConnection, name: str, run: Path, stamp: str) -> str:
    """Replace the rows of a run; returns why its files do not allow it."""
    db.begin()
    try:
        _replace(db, name, run, stamp)
    except (OSError, ValueError, TypeError, KeyError, duckdb.DataError, duckdb.ProgrammingError) as error:
        db.rollback()
        return f"its files do not say what they should ({_first_line(error)}) -> run its spec again"
    db.commit()
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [repr(error)])[0]


def _replace(db: duckdb.DuckDBPyConnection, name: str, run: Path, stamp: str) -> None:
    manifest = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    measured = json.loads((run / METRICS).read_text(encoding="utf-8"))
    settings = read_yaml(run / SPEC)
    about = {"series": manifest["configuration"]} | manifest
    about |= {"folder": name, "finished": manifest["started"] + manifest["seconds"], "stamp": stamp}
    about |= {"settings": json.dumps(settings), "warnings": warnings_of(manifest, measured["training"], settings)}
    about |= _cut(measured["head"]) | _training(measured["training"])
    _delete(db, name)
    lists = ", ".join(f"unnest(?::{kind}[])" for kind in list(_METRICS.values())[1:])
    columns = [[row[column] for row in measured["metrics"]] for column in list(_METRICS)[1:]]
    db.execute(f"insert into metrics select ?, {lists}", [name, *columns])
    found = db.execute(f"select content from ({_CONTENT}) where folder = ?", [name]).fetchone()
    marks = ", ".join("?" * len(_RUNS))
    db.execute(f"insert into runs values ({marks})", [about.get(column) for column in _RUNS])
    entered = db.execute("select * from runs where folder = ?", [name]).fetchone() or ()
    content = _content(dict(zip(_RUNS, entered, strict=True)), found[0] if found else "")
    db.execute("update runs set content = ? where folder = ?", [content, name])


def warnings_of(manifest: dict[str, Any], record: dict[str, Any] | None, settings: dict[str, Any]) -> list[str]:
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
    return record | {"monitor": f"{record['monitor']} ({record['protocol']})", "teacher_steps": _steps_before(record)}


def _steps_before(record: dict[str, Any]) -> int:
    """Of all trainings that this one builds on."""
    before = [direct for direct in (record["teacher"], *record.get("others", [])) if direct is not None]
    return sum(direct["steps"] + _steps_before(direct) for direct in before)


def _connect(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Open the file; while another process holds it, try again. Raises duckdb.Error where it is damaged."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=_ALONE)
        except duckdb.Error as error:
            if "database file with version number" in str(error):
                raise _newer(path, "of a newer DuckDB") from error
            if "could not set lock" not in str(error).lower():
                raise
            if time.monotonic() > deadline:
                fix = "end it, then run the same command again"
                raise BenchError("another process holds it", where=str(path), fix=fix) from error
            time.sleep(0.1)
