"""Times of any form as instants in UTC: whole numbers, text with and without an offset, timestamps.

Nothing here depends on the machine's time zone: the connection's is UTC (data/prepare.py), and a time that names no
offset is taken as UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from duckdb import DuckDBPyRelation

from llmemb_bench.values.recdata import TimeUnit
from llmemb_bench.values.split import TICKS

LATEST = 4_102_444_800  # 2100-01-01 in seconds: a later event is a wrong unit, not a date
WHOLE_NUMBERS = frozenset({"BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UINTEGER", "USMALLINT", "UTINYINT"})
SAMPLE = 1_000
"""Events with a time that are looked at for the form and the unit of the times."""
TELLING = 100_000_000
"""A smaller number tells no unit; a time in seconds is as large from 1973 on, in milliseconds a thousand times so."""
UNITS: tuple[TimeUnit, ...] = ("s", "ms", "us", "ns")

_OFFSET = r":\d\d([.,]\d+)?\s*([+−-]\d|[A-Za-z])"
"""Regular expression of an offset after a time of day; the `-05` of a date is none."""
_PLAIN_END = r"(?i)([^a-z\s]|\dz|\b(utc|gmt)|/[a-z_-]+)\s*$"
"""Regular expression of a time whose zone is no abbreviation: ICU takes BST for Dhaka's, and CST is any of three."""


@dataclass(frozen=True)
class Clock:
    """How the times of some events are read."""

    sql: str
    """SQL of an event's time in `unit`; null where it is none."""
    unit: TimeUnit
    """Unit of the prepared times."""
    source: TimeUnit | None = None
    """Unit of the numbers that are read; None: they are no numbers."""
    naive: str = "false"
    """SQL of whether an event's time names no offset."""

    @property
    def stray(self) -> tuple[int, int] | None:
        """First and end of the times, in `unit`, whose numbers are too small if others are not; or None."""
        if self.source is None:
            return None
        first, stop = TELLING * TICKS[self.unit] // TICKS[self.source], TELLING * TICKS[self.unit]
        return (first, stop) if first < stop else None


@dataclass(frozen=True)
class _Look:
    """What the first events of a relation tell of their times."""

    kind: str | None
    moments: bool = False
    largest: Decimal | None = None


def clocks(relations: Sequence[DuckDBPyRelation], unit: TimeUnit | None) -> tuple[list[Clock], bool]:
    """How to read the column `time` of each relation, and whether the unit of its numbers was recognised by their size,
    as it is where `unit` is None."""
    looks = [_look(relation, unit) for relation in relations]
    if any(look.moments for look in looks):  # a file whose texts tell nothing is read like the others
        looks = [replace(look, moments=look.moments or _is_mute(look)) for look in looks]
    largest = max((look.largest for look in looks if look.largest is not None), default=Decimal(0))
    by_size = next((fitting for fitting in UNITS if largest < 1_000 * TELLING * TICKS[fitting]), UNITS[-1])
    return [_clock(look, unit or by_size) for look in looks], unit is None and largest >= TELLING


def _look(relation: DuckDBPyRelation, unit: TimeUnit | None) -> _Look:
    kind = dict(zip(relation.columns, map(str, relation.types), strict=True)).get("time")
    if kind is None or kind.startswith(("TIMESTAMP", "DATE")) or (kind != "VARCHAR" and unit is not None):
        return _Look(kind)
    number = 'try_cast("time" as decimal(38, 6))'
    day = 'try_cast(left(trim("time"), 10) as date)'  # whatever follows it
    is_moment = f"({number} is null and coalesce({_instant('time')}, {day}) is not null)"
    if kind != "VARCHAR":
        is_moment = "false"
    telling = relation.filter(f"{number} is not null or {is_moment}").limit(SAMPLE)
    [(moments, largest)] = telling.aggregate(f"bool_or({is_moment}), max({number})").fetchall()
    return _Look(kind, bool(moments), largest)


def _is_mute(look: _Look) -> bool:
    return look.kind == "VARCHAR" and look.largest is None


def _clock(look: _Look, unit: TimeUnit) -> Clock:
    if look.kind is None:
        return Clock("null::bigint", "order")
    if look.kind == "TIMESTAMP WITH TIME ZONE":
        return Clock('epoch_us("time")', "us")
    if look.kind == "TIMESTAMP_NS":
        return Clock('epoch_ns("time")', "ns", naive="true")
    if look.kind.startswith(("TIMESTAMP", "DATE")):
        return Clock('epoch_us("time"::timestamp)', "us", naive="true")
    if look.moments:
        return Clock(f"epoch_us({moment('time')})", "us", naive=f"not regexp_matches(\"time\", '{_OFFSET}')")
    if look.kind in WHOLE_NUMBERS:
        return Clock('"time"::bigint', unit, unit)
    # Text or fractions: rounding to the unit would lose an order that the file has.
    fine: TimeUnit = "ns" if unit == "ns" else "us"
    scale = TICKS[fine] // TICKS[unit]
    return Clock(f'try_cast(try_cast("time" as decimal(38, 6)) * {scale} as bigint)', fine, unit)


def moment(column: str) -> str:
    """SQL of the instant that a text column names, in UTC where it names no offset; null where it is no time.

    A zone is an offset, Z, UTC, GMT or a place such as Europe/Berlin; an abbreviation means many and so is none.
    """
    return f"case when regexp_matches(\"{column}\", '{_PLAIN_END}') then {_instant(column)} end"


def _instant(column: str) -> str:
    """SQL of what DuckDB takes a text for, with any zone.

    Beside its own forms: a blank before the offset, a small z, a comma before the fraction, a minus that is a minus.
    """
    mended = rf"""regexp_replace(translate(trim("{column}"), 'z,−', 'Z.-'), '\s+([+-]\d)', '\1')"""
    return f'coalesce(try_cast("{column}" as timestamptz), try_cast({mended} as timestamptz))'
