"""Your own events and items: CSV, Parquet or JSON lines, here or at a URL, with the columns named in the spec."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import duckdb
from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.config import Config, SpecPath
from llmemb_bench.contracts import Dataset, DatasetConfig
from llmemb_bench.data.events import require_columns
from llmemb_bench.data.recdata import TimeUnit
from llmemb_bench.data.remote import load_extension
from llmemb_bench.data.texts import quoted
from llmemb_bench.errors import MissingError, SpecError
from llmemb_plugins.datasets._files import first_line, header, named

DELIMITERS = {".csv": ",;|\t", ".tsv": "\t"}
"""What may stand between values; where several may, the one that the first line holds most of."""
SAMPLE = 20_480
"""Lines of events that are looked at for the names of columns; of items all, since any may hold another attribute."""
FORMATS = (*DELIMITERS, ".parquet", ".jsonl")


class TableConfig(DatasetConfig):
    """Settings of `table`."""

    events: SpecPath
    """File of events: .csv, .tsv, .parquet, .jsonl, each but Parquet also with .gz or .zst. Part files are named with
    `*` and read in the order of their names."""
    validation: SpecPath | None = None
    """File of validation events, for `split: {by: file}`; `events` then holds the training events."""
    test: SpecPath | None = None
    """File of test events, likewise."""
    user: str = "user"
    """Column of the user's id."""
    item: str = "item"
    """Column of the item's id, in the events and in the items."""
    time: str | None = "time"
    """Column of the time (a number or a timestamp); null: the order of the file."""
    time_unit: Literal["s", "ms", "us"] = "s"
    """Unit of a time that is a number: seconds, milliseconds or microseconds since 1970."""
    rating: str | None = None
    """Column of the rating, for min_rating."""
    fold: str | None = None
    """Column that says train, validation or test, for `split: {by: file}`."""
    items: SpecPath | None = None
    """File of items; every other column of it is a text attribute, unless `attributes` names some."""
    remote: bool = False
    """Allow https:// and s3://, by DuckDB's httpfs: fetched once over https, its signature checked by DuckDB at each
    use; a file that changed under its URL is not noticed."""


class Table(Dataset):
    """Read by DuckDB; a column that is not there is an error that names those that are."""

    config: TableConfig
    obtain: ClassVar[str] = "set dataset.events and dataset.items to your files, relative to the spec"

    @classmethod
    def variant(cls, config: Config) -> str:
        return Path(TableConfig.model_validate(config).events.text).name

    def time_unit(self) -> TimeUnit:
        return self.config.time_unit

    def files(self) -> Sequence[Path]:
        given = (self.config.events, self.config.validation, self.config.test, self.config.items)
        return [file for path in given if path is not None and not _is_url(path) for file in self._parts(path)]

    def _parts(self, path: SpecPath) -> list[Path]:
        whole = path.resolve()
        beside = sorted(whole.parent.iterdir()) if "*" in whole.name and whole.parent.is_dir() else []
        parts = [part for part in beside if fnmatch.fnmatchcase(part.name, whole.name) and part.is_file()]
        found = [whole] if whole.is_file() else parts
        if not found:
            raise MissingError(f"no file {whole}", where="dataset", fix=self.obtain)
        return found

    def events(self, db: DuckDBPyConnection) -> Sequence[DuckDBPyRelation]:
        parts = {"train": self.config.events, "validation": self.config.validation, "test": self.config.test}
        given = {fold: path for fold, path in parts.items() if path is not None}
        if len(given) == 1:
            return self._events(db, self.config.events, None)
        if len(given) == 2 or self.config.fold is not None:
            raise SpecError("give both 'validation' and 'test', or a 'fold' column", where="dataset")
        return [relation for fold, path in given.items() for relation in self._events(db, path, fold)]

    def _events(self, db: DuckDBPyConnection, path: SpecPath, fold: str | None) -> list[DuckDBPyRelation]:
        """One relation for each gzip file; DuckDB reads files of any other kind side by side by itself."""
        files = self._files_of(path)
        groups = [[file] for file in files] if path.text.endswith(".gz") else [files]
        return [self._selected(self._read(db, path, group, SAMPLE), path, fold) for group in groups]

    def _selected(self, read: DuckDBPyRelation, path: SpecPath, fold: str | None) -> DuckDBPyRelation:
        columns = {"user": self.config.user, "item": self.config.item, "rating": self.config.rating}
        columns |= {"fold": self.config.fold}
        wanted = [column for column in (*columns.values(), self.config.time) if column]
        require_columns(read.columns, wanted, path.text)
        selected = [f"{quoted(column)} as {quoted(name)}" for name, column in columns.items() if column]
        if self.config.time:
            selected.append(f'{self._time(read, self.config.time)} as "time"')
        if fold:
            selected.append(f"'{fold}' as fold")
        return read.select(", ".join(selected))

    def _time(self, read: DuckDBPyRelation, column: str) -> str:
        """SQL of the time: a timestamp as such; text that holds timestamps as such too, and else the number."""
        name = quoted(column)
        kind = str(read.types[read.columns.index(column)])
        if kind != "VARCHAR":
            return name
        moment = f"try_cast({name} as bigint) is null and try_cast({name} as timestamp) is not null"
        sample = read.select(f"{moment} as moment").limit(100).fetchall()
        return f"try_cast({name} as timestamp)" if any(moment for (moment,) in sample) else name

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation | None:
        if self.config.items is None:
            return None
        read = self._read(db, self.config.items, self._files_of(self.config.items), sample=-1)
        require_columns(read.columns, [self.config.item], self.config.items.text)
        others = [quoted(column) for column in read.columns if column != self.config.item]
        return read.select(", ".join([f"{quoted(self.config.item)} as item", *others]))

    def _files_of(self, path: SpecPath) -> list[str]:
        return [path.text] if _is_url(path) else named(self._parts(path))

    def _read(self, db: DuckDBPyConnection, path: SpecPath, files: list[str], sample: int) -> DuckDBPyRelation:
        name = Path(path.text).name.split("?")[0].removesuffix(".gz").removesuffix(".zst")
        suffix = Path(name).suffix
        if suffix not in FORMATS:
            raise SpecError(f"'{suffix}' is no known format", where=path.text, fix=f"use one of {', '.join(FORMATS)}")
        if _is_url(path):
            self._allow_remote(db, path)
        match suffix:
            case ".parquet":
                return db.sql("select * from read_parquet(?)", params=[files])
            case ".jsonl":
                return _read_lines(db, files, sample)
        return _read_table(db, files, DELIMITERS[suffix])

    def _allow_remote(self, db: DuckDBPyConnection, path: SpecPath) -> None:
        if not self.config.remote:
            raise SpecError(f"'{path.text}' is not on this machine", where="dataset", fix="set dataset.remote: true")
        try:
            load_extension(db, "httpfs")
            if path.text.startswith("s3://"):
                load_extension(db, "aws")
                db.execute("create or replace secret (type s3, provider credential_chain)")
        except duckdb.Error as error:
            raise MissingError(
                f"DuckDB's part for remote files cannot be had: {str(error).splitlines()[0]}",
                where="dataset",
                fix="is the network reachable? or download the file and name it here",
            ) from error

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        lines = [f"u{user},i{(user + place) % 9},{1000 + place}\n" for user in range(8) for place in range(4)]
        (folder / "events.csv").write_text("user,item,time\n" + "".join(lines))
        (folder / "items.csv").write_text("item,title\n" + "".join(f"i{i},Thing {i}\n" for i in range(9)))
        return {"events": str(folder / "events.csv"), "items": str(folder / "items.csv")}


def _is_url(path: SpecPath) -> bool:
    return "://" in path.text


def _read_table(db: DuckDBPyConnection, files: list[str], delimiters: str) -> DuckDBPyRelation:
    """Every value as the text it is; a row of another width is an error with its line."""
    delimiter = max(delimiters, key=(first_line(db, files[0]) or "").count)
    columns = dict.fromkeys(header(db, files, delimiter), "VARCHAR")
    return db.sql(
        "select * from read_csv(?, columns = ?, delim = ?, header = true, quote = '\"', escape = '\"', "
        "auto_detect = false, strict_mode = true, null_padding = false)",
        params=[files, columns, delimiter],
    )


def _read_lines(db: DuckDBPyConnection, files: list[str], sample: int) -> DuckDBPyRelation:
    """Every value as the text it is: an id that looks like a date or a number must not be rewritten as one. The keys
    are those of the first `sample` lines, -1: of all."""
    reader = "read_json(?, format = 'newline_delimited'"
    found = db.sql(f"select * from {reader}, sample_size = {sample})", params=[files])
    types = zip(found.columns, map(str, found.types), strict=True)
    columns = {name: "VARCHAR[]" if kind.endswith("[]") else "VARCHAR" for name, kind in types}
    return db.sql(f"select * from {reader}, columns = ?)", params=[files, columns])
