"""From an events relation to numbered, ordered events: filters, cores, ids, all in DuckDB and out of core.

Names become small integers once; every later step moves integers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.base.errors import DataError
from llmemb_bench.contracts import Dataset, DatasetConfig
from llmemb_bench.data.times import LATEST, Clock, clocks
from llmemb_bench.registry.entries import suggestion
from llmemb_bench.values.recdata import TimeUnit
from llmemb_bench.values.split import TICKS

NAIVE = "without an offset, taken as UTC"
FOLDS = {"train": 0, "validation": 1, "valid": 1, "val": 1, "test": 2}


@dataclass(frozen=True)
class Ordered:
    """What `order_events` left in the database.

    Tables: `final(user, item, time, fold)` in the order of histories, with `user` from 0 and `item` a code;
    `user_name(number, name)` and `item_name(number, code, name)`.
    """

    time_unit: TimeUnit
    clock: str
    """How the times were read, in words."""
    has_folds: bool
    tally: dict[str, int]


def order_events(db: DuckDBPyConnection, dataset: Dataset) -> Ordered:
    """Read, check, filter, order and number the events of a dataset; a DataError where none is there or left."""
    config = dataset.config
    given = dataset.events(db)
    relations = [given] if isinstance(given, DuckDBPyRelation) else given
    for relation in relations:
        require_columns(relation.columns, ("user", "item"), "the dataset's events")
    clock, recognised = _read(db, relations, dataset.time_unit())
    tally = {"events_read": _count(db, "raw")}
    said = NAIVE if dataset.names_no_offset else _said(db, clock, recognised, tally["events_read"])
    _refuse_broken(db, dataset, clock, tally)
    _code(db, len(relations))
    _drop_repeats(db, config, tally)
    _drop_rare(db, config, tally)
    if not tally["events_read"]:
        raise DataError("holds no events", where=_file(dataset), fix="is it the right file?")
    if _count(db, "event") == 0:
        raise DataError(
            f"none of {tally['events_read']:,} events is left",
            where=_file(dataset),
            fix="look at broken_rows, min_rating, min_user_events, min_item_events and min_history",
        )
    _order(db)
    return Ordered(clock.unit, said, "fold" in relations[0].columns, tally)


def require_columns(found: Sequence[str], wanted: Sequence[str], where: str) -> None:
    """A DataError where a relation lacks a column; it names what there is."""
    for column in wanted:
        if column not in found:
            raise DataError(f"no column '{column}'", where=where, fix=suggestion(column, list(found)))


def _read(db: DuckDBPyConnection, relations: Sequence[DuckDBPyRelation], unit: TimeUnit | None) -> tuple[Clock, bool]:
    """View `raw(line, name_u, name_i, time, naive, rating, fold)`; returns how the times were read."""
    queries: list[str] = []
    read, recognised = clocks(relations, unit)
    for index, (relation, clock) in enumerate(zip(relations, read, strict=True)):
        relation.create_view(f"given_event_{index}")
        queries.append(f"select {_columns(relation, clock)} from given_event_{index}")
    if len({(clock.unit, clock.source) for clock in read}) > 1:
        raise DataError("time is of one kind in a file and of another in the next", where="the dataset's events")
    _read_side_by_side(db, queries)
    _number_lines(db, len(queries))
    return read[0], recognised


def _read_side_by_side(db: DuckDBPyConnection, queries: Sequence[str]) -> None:
    """Tables `raw_0`, `raw_1`, ... DuckDB reads one gzip stream after another; a cursor each lets them use all its
    threads."""
    row = db.execute("select current_setting('threads')").fetchone()
    with ThreadPoolExecutor(row[0] if row else 1) as pool:
        made = [
            pool.submit(db.cursor().execute, f"create table raw_{index} as {query}")
            for index, query in enumerate(queries)
        ]
        for future in made:
            future.result()


def _number_lines(db: DuckDBPyConnection, parts: int) -> None:
    """View `raw(line, ...)` over the parts, numbered from 0 in the order of the files."""
    first, selected = 0, []
    for index in range(parts):
        selected.append(f"select rowid + {first} as line, * from raw_{index}")
        first += _count(db, f"raw_{index}")
    db.execute(f"create view raw as {' union all '.join(selected)}")


def _columns(relation: DuckDBPyRelation, clock: Clock) -> str:
    """SQL of the columns of `raw`; an id of blanks is none."""
    # Whatever begins with a visible character is an id; only the others need to be looked through.
    names = [
        f"case when {text} >= '!' or trim({text}) <> '' then {text} end"
        for text in ('"user"::varchar', "item::varchar")
    ]
    rating = "try_cast(rating as double)" if "rating" in relation.columns else "null::double"
    fold = "0::tinyint"
    if "fold" in relation.columns:
        cases = " ".join(f"when '{name}' then {number}" for name, number in FOLDS.items())
        fold = f"(case lower(trim(fold::varchar)) {cases} end)::tinyint"
    times = f'{clock.sql} as "time", {clock.naive} as naive'
    return f"{names[0]} as name_u, {names[1]} as name_i, {times}, {rating} as rating, {fold} as fold"


def _said(db: DuckDBPyConnection, clock: Clock, recognised: bool, events: int) -> str:
    """How the times were read, in words."""
    if clock.unit == "order":
        return "the order of the file"
    if clock.source is not None:
        return f"numbers in {clock.source} since 1970{', recognised by their size' if recognised else ''}"
    naive = events if clock.naive == "true" else 0
    if clock.naive not in ("true", "false"):
        [(naive,)] = db.execute('select count(*) filter (naive and "time" is not null) from raw').fetchall()
    if naive == events:
        return NAIVE
    return f"{naive:,} of {events:,} {NAIVE}" if naive else "UTC, by the offsets given"


def _refuse_broken(db: DuckDBPyConnection, dataset: Dataset, clock: Clock, tally: dict[str, int]) -> None:
    """View `usable` without rows that lack something; unless they may be dropped, they are an error."""
    config = dataset.config
    faults = {"user": "name_u is null", "item": "name_i is null", "fold": "fold is null"}
    if clock.unit != "order":
        faults["time"] = _no_time(db, clock)
    if config.min_rating is not None:
        faults["rating"] = "rating is null or isnan(rating)"
    counts = ", ".join(f"count(*) filter ({fault}), min(line) filter ({fault})" for fault in faults.values())
    found = db.execute(f"select {counts} from raw").fetchone() or ()
    for name, count, first in zip(faults, found[::2], found[1::2], strict=True):
        if count and config.broken_rows == "refuse":
            where, held = dataset.locate(first, name)
            raise DataError(
                f"{count:,} of {tally['events_read']:,} events have no usable {name}, the first is event {first + 1:,}"
                + (f" ({held})" if held else ""),
                where=where,
                fix=_way_out(name, clock),
            )
        tally[f"events_without_{name}"] = count
    bad = " or ".join(f"({fault})" for fault in faults.values())
    rated = "" if config.min_rating is None else f" and rating >= {config.min_rating}"
    time = "line" if clock.unit == "order" else '"time"'
    db.execute(
        f'create view usable as select line, name_u, name_i, {time} as "time", fold from raw where not ({bad}){rated}'
    )
    if config.min_rating is not None:
        row = db.execute(f"select count(*) from raw where not ({bad}) and rating < {config.min_rating}").fetchone()
        tally["events_below_min_rating"] = row[0] if row else 0


def _no_time(db: DuckDBPyConnection, clock: Clock) -> str:
    """SQL of the events whose time is none, or in another unit than the rest."""
    fault = f'"time" is null or "time" not between 0 and {LATEST * TICKS[clock.unit]}'
    if clock.stray is None:
        return fault
    first, stop = clock.stray
    [(has_later,)] = db.execute(f'select coalesce(bool_or("time" >= {stop}), false) from raw').fetchall()
    return f'{fault} or ("time" >= {first} and "time" < {stop})' if has_later else fault


def _file(dataset: Dataset) -> str:
    return str(next(iter(dataset.files()), "dataset"))


def _way_out(name: str, clock: Clock) -> str:
    match name:
        case "rating":
            return "these data have no (or not every) rating: remove dataset.min_rating, or set broken_rows: drop"
        case "time":
            return _way_out_of_time(clock)
        case "fold":
            return "write train, validation or test, or set dataset.broken_rows: drop"
    return "is the column missing or misnamed? fix the rows, or set dataset.broken_rows: drop (they are counted)"


def _way_out_of_time(clock: Clock) -> str:
    drop = "or set dataset.broken_rows: drop"
    if clock.source is not None:
        return f"should be a number in {clock.source}: missing, misnamed, in another unit? {drop}"
    right = "a time like 2020-01-31T23:59:59+01:00: missing, misnamed, in another unit?"
    return f"should be {right} where a zone stands in letters (BST), write an offset such as +01:00; {drop}"


def _code(db: DuckDBPyConnection, parts: int) -> None:
    """Table `event(line, user, item, time, fold)` of integers; `name_u` and `name_i` hold what the codes mean."""
    for name in ("name_u", "name_i"):
        db.execute(f"create table {name} as select {name} as name from usable group by all")
    db.execute(
        """create table event as
        select line, u.rowid::integer as "user", i.rowid::integer as item, "time", fold
        from usable join name_u u on usable.name_u = u.name join name_i i on usable.name_i = i.name"""
    )
    db.execute("drop view usable")
    db.execute("drop view raw")
    for index in range(parts):
        db.execute(f"drop table raw_{index}")


def _drop_repeats(db: DuckDBPyConnection, config: DatasetConfig, tally: dict[str, int]) -> None:
    if config.repeats == "keep":
        return
    same = '"user", item' + (', "time"' if config.repeats == "drop_simultaneous" else "")
    before = _count(db, "event")
    _keep(db, f'line in (select arg_min(line, ("time", line)) from event group by {same})')
    tally["repeats_dropped"] = before - _count(db, "event")


def _drop_rare(db: DuckDBPyConnection, config: DatasetConfig, tally: dict[str, int]) -> None:
    """Events of rare users and items, both counted on the same snapshot (LLMEmb code, data_process.py)."""
    first = before = _count(db, "event")
    frequent = " and ".join(
        f'"{column}" in (select "{column}" from event group by all having count(*) >= {least})'
        for column, least in (("user", config.min_user_events), ("item", config.min_item_events))
        if least > 1
    )
    while frequent:
        _keep(db, frequent)
        after = _count(db, "event")
        if not config.iterate_core or after == before:
            break
        before = after
    tally["rare_dropped"] = first - _count(db, "event")
    if config.min_history > 1:
        before = _count(db, "event")
        _keep(db, f'"user" in (select "user" from event group by all having count(*) >= {config.min_history})')
        tally["short_history_dropped"] = before - _count(db, "event")


def _keep(db: DuckDBPyConnection, condition: str) -> None:
    db.execute(f"create table kept as select * from event where {condition}")
    db.execute("drop table event")
    db.execute("alter table kept rename to event")


def _order(db: DuckDBPyConnection) -> None:
    """Users by their first event (then by name), so that the order of the file decides nothing but ties."""
    db.execute(
        """create table user_name as
        select code, row_number() over (order by first, name) - 1 as number, name
        from (select "user" as code, min("time") as first from event group by all)
        join (select rowid as code, name from name_u) using (code)"""
    )
    db.execute(
        """create table final as select number::integer as "user", item, "time", fold
        from event join user_name on event."user" = user_name.code order by number, fold, "time", line"""
    )
    db.execute("drop table event")
    db.execute(
        """create table item_name as select code, row_number() over (order by first) as number, name
        from (select item as code, min(rowid) as first from final group by all)
        join (select rowid as code, name from name_i) using (code)"""
    )
    db.execute("drop table name_u")
    db.execute("drop table name_i")


def _count(db: DuckDBPyConnection, table: str) -> int:
    row = db.execute(f"select count(*) from {table}").fetchone()
    return int(row[0]) if row else 0
