"""Your own events and items: CSV, Parquet or JSON lines, with the columns named in the spec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.config import Config, SpecPath
from llmemb_bench.contracts import Dataset, DatasetConfig
from llmemb_bench.data.prepare import require_columns
from llmemb_bench.errors import MissingError, SpecError


class TableConfig(DatasetConfig):
    """Settings of `table`."""

    events: SpecPath
    """File of events: .csv, .tsv, .parquet, .jsonl, each but Parquet also with .gz."""
    user: str = "user"
    """Column of the user's id."""
    item: str = "item"
    """Column of the item's id, in the events and in the items."""
    time: str | None = "time"
    """Column of the time (a number or a timestamp); null: the order of the file."""
    items: SpecPath | None = None
    """File of items; every other column of it is a text attribute, unless `attributes` names some."""


class Table(Dataset):
    """Read by DuckDB; a column that is not there is an error that names those that are."""

    config: TableConfig
    obtain: ClassVar[str] = "set dataset.events and dataset.items to your files, relative to the spec"

    @classmethod
    def variant(cls, config: Config) -> str:
        return Path(TableConfig.model_validate(config).events.text).name

    def files(self) -> Sequence[Path]:
        paths = [path.resolve() for path in (self.config.events, self.config.items) if path is not None]
        for path in paths:
            if not path.is_file():
                raise MissingError(f"no file {path}", where="dataset", fix=self.obtain)
        return paths

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        path = self.files()[0]
        read = _read(db, path)
        user, item, time = self.config.user, self.config.item, self.config.time
        require_columns(read.columns, [user, item, *([time] if time else [])], str(path))
        when = _seconds(read, time) if time else "row_number() over ()"
        return read.select(f'{_quoted(user)} as "user", {_quoted(item)} as item, {when} as "time"')

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation | None:
        if self.config.items is None:
            return None
        path = self.files()[1]
        read = _read(db, path)
        require_columns(read.columns, [self.config.item], str(path))
        others = [_quoted(column) for column in read.columns if column != self.config.item]
        return read.select(", ".join([f"{_quoted(self.config.item)} as item", *others]))

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        lines = [f"u{user},i{(user + place) % 9},{1000 + place}\n" for user in range(8) for place in range(4)]
        (folder / "events.csv").write_text("user,item,time\n" + "".join(lines))
        (folder / "items.csv").write_text("item,title\n" + "".join(f"i{i},Thing {i}\n" for i in range(9)))
        return {"events": str(folder / "events.csv"), "items": str(folder / "items.csv")}


def _read(db: DuckDBPyConnection, path: Path) -> DuckDBPyRelation:
    readers = {
        ".csv": "read_csv(?, header = true, all_varchar = true)",
        ".tsv": "read_csv(?, header = true, all_varchar = true, delim = '\t')",
        ".parquet": "read_parquet(?)",
        ".jsonl": "read_json(?, format = 'newline_delimited')",
    }
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in readers:
        raise SpecError(f"'{suffix}' is no known format", where=str(path), fix=f"use one of {', '.join(readers)}")
    return db.sql(f"select * from {readers[suffix]}", params=[str(path)])


def _seconds(read: DuckDBPyRelation, column: str) -> str:
    """SQL for whole microseconds or the number as it stands, so that events sort as they happened."""
    name = _quoted(column)
    if str(read.types[read.columns.index(column)]).startswith(("TIMESTAMP", "DATE")):
        return f"epoch_us({name}::timestamp)"
    return f"coalesce(try_cast({name} as bigint), epoch_us(try_cast({name}::varchar as timestamp)))"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
