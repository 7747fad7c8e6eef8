"""Times of every form are instants in UTC: the right order and the right day, whatever the machine's clock says."""

from __future__ import annotations

import gzip
import json
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from llmemb_bench.base.errors import DataError
from llmemb_bench.data.statistics import describe
from llmemb_bench.registry.entries import find
from llmemb_bench.registry.kinds import DatasetChoice
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.dataset import PreparedData
from llmemb_bench.values.recdata import RecData
from llmemb_bench.values.split import TICKS, Split
from tests.helpers.datasets import read


def of_times(folder: Path, times: list[object], form: str = "csv", **given: Any) -> RecData:
    """One user's events `i0`, `i1`, ... at these times, in this order in the file."""
    path = folder / f"e.{form}"
    if form == "csv":
        path.write_text("user,item,time\n" + "".join(f'u,i{at},"{moment}"\n' for at, moment in enumerate(times)))
    else:
        rows = [{"user": "u", "item": f"i{at}", "time": moment} for at, moment in enumerate(times)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read(folder, "table", events=str(path), **given)


def order(data: RecData) -> list[int]:
    return [int(data.catalogue.ids[item - 1][1:]) for item in data.items]


def moments(data: RecData) -> list[datetime]:
    """The times in the order of the file, by Python's clock."""
    ticks = TICKS[data.time_unit]
    found = {
        at: datetime.fromtimestamp(int(moment) // ticks, UTC)
        for at, moment in zip(order(data), data.times, strict=True)
    }
    return [found[at] for at in sorted(found)]


@pytest.fixture(params=["UTC", "America/New_York", "Pacific/Kiritimati"])
def machine(request, monkeypatch):
    """A machine whose clock is elsewhere."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


HALF_PAST = datetime(2020, 1, 1, 0, 30, tzinfo=UTC)
WRITTEN = [
    ("2020-01-01T00:30:00Z", 0),
    ("2020-01-01T00:30:00z", 0),
    ("2020-01-01 00:30:00 UTC", 0),
    ("2020-01-01 00:30:00 GMT", 0),
    ("2020-01-01T02:30:00+02:00", 0),
    ("2020-01-01T02:30:00+0200", 0),
    ("2020-01-01T02:30+02:00", 0),
    ("2020-01-01 02:30:00 +0200", 0),
    ("2020-01-01 02:30:00+02", 0),
    ("2019-12-31T19:30:00-05:00", 0),
    ("2019-12-31T19:30:00\u221205:00", 0),  # a minus sign, not a hyphen
    ("2020-01-01T06:15:00.000+05:45", 0),
    ("2020-01-01T06:15:00,250+05:45", 0.25),
    ("2020-01-01T14:30:00+14:00", 0),
    ("2020-01-01 01:30:00 Europe/Berlin", 0),
    ("2020-01-01T00:30:00", 0),
    ("2020-01-01 00:30:00.5", 0.5),
    ("2020/01/01 00:30:00", 0),
    ("2020-01-01 00:30:00 utc", 0),
    ("2020-01-01 02:30:00 GMT+2", 0),
    ("2019-12-31 19:30:00 Etc/GMT+5", 0),
    ("2019-12-31 18:30:00 America/North_Dakota/New_Salem", 0),
    ("2019-12-31 19:30:00 America/Port-au-Prince", 0),
]


@pytest.mark.parametrize(("written", "seconds"), WRITTEN)
def test_every_way_to_write_an_instant_means_the_same_one(written, seconds, tmp_path):
    data = of_times(tmp_path, [written])
    assert data.times.tolist() == [int((HALF_PAST.timestamp() + seconds) * 1e6)]
    assert data.time_unit == "us"


@pytest.mark.parametrize("zone", ["BST", "bst", "CST", "IST", "EST", "PST8PDT", "CET", "CEST", "MSK", "FUTC"])
@pytest.mark.parametrize("before", [[], ["2020-01-01T00:30:00Z"]])
def test_a_zone_in_letters_means_many_and_is_refused_with_its_line(zone, before, tmp_path):
    written = f"2020-01-01 00:30:00 {zone}"
    with pytest.raises(DataError) as raised:
        of_times(tmp_path, [*before, written])
    [problem] = raised.value.problems
    assert problem.where == f"{tmp_path}/e.csv:{len(before) + 2}"
    assert f"(column 'time' holds '{written}')" in problem.finding
    assert "write an offset such as +01:00" in problem.fix


@pytest.mark.parametrize("empty", ["", " ", "NaT"])
@pytest.mark.parametrize(
    ("written", "clock"), [("2020-01-01T00:30:00Z", "UTC, by the offsets"), ("1577838600000", "numbers in ms")]
)
def test_any_number_of_events_without_a_time_hides_no_time(empty, written, clock, tmp_path):
    data = of_times(tmp_path, [empty] * 1_000 + [written], broken_rows="drop")
    assert (moments(data), data.tally["events_without_time"]) == ([HALF_PAST], 1_000)
    assert data.clock.startswith(clock)


def test_a_file_without_any_time_is_read_like_the_next(tmp_path):
    for name, written in (("e0", ""), ("e1", "2020-01-01T00:30:00Z")):
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(f"user,item,time\nu,i0,{written}\n".encode(), mtime=0))
    data = read(tmp_path, "table", events=str(tmp_path / "e*.csv.gz"), broken_rows="drop")
    assert (moments(data), data.tally["events_without_time"]) == ([HALF_PAST], 1)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_offsets_order_a_history(form, machine, tmp_path):
    times: list[object] = [
        "2019-12-31T23:00:00Z",
        "2020-01-01T00:30:00+02:00",  # half past ten in the evening
        "2019-12-31T18:30:00-05:00",  # half past eleven
        "2020-01-01T05:00:00+05:45",  # a quarter past eleven
    ]
    assert order(of_times(tmp_path, times, form)) == [1, 0, 3, 2]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("timestamptz '2020-03-08 01:30:00-05' + interval (i) hour", "UTC, by the offsets given"),
        ("timestamp '2020-03-08 06:30:00' + interval (i) hour", "without an offset, taken as UTC"),
        ("(timestamp '2020-03-08 06:30:00' + interval (i) hour)::timestamp_ns", "without an offset, taken as UTC"),
        ("(timestamp '2020-03-08 06:30:00' + interval (i) hour)::timestamp_ms", "without an offset, taken as UTC"),
        ("epoch(timestamp '2020-03-08 06:30:00' + interval (i) hour)::bigint", "numbers in s"),
        ("epoch(timestamp '2020-03-08 06:30:00' + interval (i) hour)", "numbers in s"),
    ],
)
def test_timestamps_of_parquet_do_not_ask_the_machine(sql, said, machine, tmp_path):
    with duckdb.connect() as db:  # over the night in which New York's clocks change
        db.execute("set TimeZone = 'UTC'")
        db.execute(
            f"copy (select 'u' as user, 'i' || i as item, {sql} as time from range(4) r(i)) to '{tmp_path}/e.parquet'"
        )
    data = read(tmp_path, "table", events=str(tmp_path / "e.parquet"))
    first = datetime(2020, 3, 8, 6, 30, tzinfo=UTC)
    assert moments(data) == [first + timedelta(hours=hour) for hour in range(4)]
    assert data.clock.startswith(said)


@pytest.mark.parametrize("hours", [-11, -3.5, 0, 5.75, 13])
def test_python_agrees_about_any_offset(hours, machine, tmp_path):
    rng = np.random.default_rng(int(hours * 4) + 50)
    zone = timezone(timedelta(hours=hours))
    expected = [datetime.fromtimestamp(int(second), zone) for second in rng.integers(0, 4_000_000_000, size=40)]
    data = of_times(tmp_path, [moment.isoformat() for moment in expected])
    assert moments(data) == [moment.astimezone(UTC) for moment in expected]


def test_the_key_of_prepared_data_and_their_bytes_are_the_same_everywhere(tmp_path, monkeypatch):
    (tmp_path / "e.csv").write_text("user,item,time\nu,b,2020-01-01T00:30:00+02:00\nu,a,2019-12-31 23:00:00\n")
    choice = DatasetChoice("table", {"events": str(tmp_path / "e.csv")})
    found = []
    for zone in ("Asia/Tokyo", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        cache = Cache(tmp_path / zone.replace("/", "-"))
        found.append(
            (PreparedData(cache, choice).result().key, [path.name for path in (cache.root / "data").glob("[!.]*")])
        )
    monkeypatch.undo()
    time.tzset()
    assert found[0] == found[1]


def test_a_file_that_was_replaced_under_its_old_time_is_read_again(tmp_path):
    import os

    path, cache = tmp_path / "e.csv", Cache(tmp_path / "cache")
    path.write_text("user,item,time\nu,a,1\n")
    before, about = cache.fingerprint(path), path.stat()
    path.write_text("user,item,time\nu,b,1\n")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_mtime_ns == about.st_mtime_ns
    assert cache.fingerprint(path) != before


# --- what describe says ---


def said(data: RecData) -> object:
    return describe(Split(data))["preparation"]["times"]


@pytest.mark.parametrize(
    ("times", "given", "words"),
    [
        (["2020-01-01", "2020-01-02"], {}, "without an offset, taken as UTC"),
        (["2020-01-01T00:00:00Z", "2020-01-02 00:00:00", "2020-01-05"], {}, "2 of 3 without an offset, taken as UTC"),
        (["2020-01-01T00:00:00Z", "2020-01-02 00:00:00-05"], {}, "UTC, by the offsets given"),
        ([1_577_836_800, 1_577_836_801], {}, "numbers in s since 1970, recognised by their size"),
        ([1_577_836_800_000, 0], {}, "numbers in ms since 1970, recognised by their size"),
        ([1_577_836_800_000_000], {}, "numbers in us since 1970, recognised by their size"),
        ([1_577_836_800_000_000_000], {}, "numbers in ns since 1970, recognised by their size"),
        ([1_577_836_800], {"time_unit": "s"}, "numbers in s since 1970"),
        ([3, 1, 2], {}, "numbers in s since 1970"),
        ([3, 1, 2], {"time": None}, "the order of the file"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_describe_says_how_the_times_were_read(times, given, words, form, tmp_path):
    assert said(of_times(tmp_path, times, form, **given)) == words


def test_dates_of_yelp_are_said_to_be_taken_as_utc(machine, tmp_path):
    given = find("datasets", "yelp").load().example(tmp_path)
    data = read(tmp_path, "yelp", **given)
    assert said(data) == "without an offset, taken as UTC"
    assert data.times.min() == datetime(2019, 1, 1, 0, 0, 9, tzinfo=UTC).timestamp()


# --- units ---


@pytest.mark.parametrize(("unit", "digits"), [("s", 0), ("ms", 3), ("us", 6), ("ns", 9)])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_unit_is_recognised_by_the_size_of_its_numbers(unit, digits, form, tmp_path):
    numbers = [(1_577_836_800 + second) * 10**digits for second in (2, 0, 1)]
    if form == "parquet":
        with duckdb.connect() as db:
            rows = ", ".join(f"('u', 'i{at}', {number}::bigint)" for at, number in enumerate(numbers))
            db.execute(f"copy (from (values {rows}) t(user, item, time)) to '{tmp_path}/e.parquet'")
        data = read(tmp_path, "table", events=str(tmp_path / "e.parquet"))
    else:
        data = of_times(tmp_path, list(numbers), form)
    assert order(data) == [1, 2, 0]
    assert moments(data) == [datetime(2020, 1, 1, 0, 0, second, tzinfo=UTC) for second in (2, 0, 1)]
    assert unit in data.clock


def test_nanoseconds_keep_their_order_within_a_microsecond(tmp_path):
    numbers: list[object] = [1_577_836_800_000_000_000 + nano for nano in (3, 1, 2)]
    assert order(of_times(tmp_path, numbers)) == [1, 2, 0]
    assert order(of_times(tmp_path, numbers, time_unit="ns")) == [1, 2, 0]
    with duckdb.connect() as db:
        db.execute(
            f"copy (select 'u' as user, 'i' || i as item, make_timestamp_ns(1577836800000000000 + 9 - i) as time "
            f"from range(3) r(i)) to '{tmp_path}/e.parquet'"
        )
    assert order(read(tmp_path, "table", events=str(tmp_path / "e.parquet"))) == [2, 1, 0]


def test_a_stated_unit_is_believed(tmp_path):
    data = of_times(tmp_path, [1_577_836_800], time_unit="ms")
    assert moments(data) == [datetime(1970, 1, 19, 6, 17, 16, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("times", "given", "line", "value"),
    [
        ([1_577_836_800_000, 1_577_836_800_001, 1_577_836_800], {}, 4, "1577836800"),
        ([1_577_836_800, 1_577_836_800_000], {"time_unit": "ms"}, 2, "1577836800"),
        ([1_577_836_800, 1_577_836_801, 1_577_836_802_000], {"time_unit": "s"}, 4, "1577836802000"),
        ([1_577_836_800_000_000, 1_577_836_800_001], {}, 3, "1577836800001"),
        ([1_577_836_800, "2020-01-01T00:00:00Z"], {}, 2, "1577836800"),
        (["2020-01-01T00:00:00Z", "yesterday"], {}, 3, "yesterday"),
        (["31/12/2020", "30/12/2020"], {}, 2, "31/12/2020"),
        (["2020-02-30", "2020-02-01"], {}, 2, "2020-02-30"),
    ],
)
def test_times_of_two_kinds_in_one_column_are_refused_with_line_column_and_value(times, given, line, value, tmp_path):
    with pytest.raises(DataError) as raised:
        of_times(tmp_path, times, **given)
    [problem] = raised.value.problems
    assert problem.where == f"{tmp_path}/e.csv:{line}"
    assert f"(column 'time' holds '{value}')" in problem.finding
    assert "dataset.broken_rows: drop" in problem.fix


def test_times_in_another_unit_are_dropped_and_counted_where_that_is_asked_for(tmp_path):
    times: list[object] = [1_577_836_800_001, 1_577_836_800, 1_577_836_800_000]
    data = of_times(tmp_path, times, broken_rows="drop")
    assert (order(data), data.tally["events_without_time"]) == ([2, 0], 1)
