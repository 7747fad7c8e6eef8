"""Your own events and items: text tables, Parquet or JSON, here or at a URL, with the columns named in the spec."""

from __future__ import annotations

import codecs
import fnmatch
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import duckdb
from duckdb import DuckDBPyConnection, DuckDBPyRelation
from pydantic import AfterValidator, Field, model_validator

from llmemb_bench.base import sql
from llmemb_bench.base.errors import DataError, MissingError, SpecError
from llmemb_bench.contracts import Dataset, DatasetConfig, Described
from llmemb_bench.data.events import require_columns
from llmemb_bench.data.raw import packing
from llmemb_bench.data.remote import load_extension
from llmemb_bench.registry.config import SpecPath
from llmemb_bench.values.recdata import TimeUnit
from llmemb_plugins.datasets._delimited import DELIMITERS, Form, read_delimited, records
from llmemb_plugins.datasets._files import Source, in_utf8, named, refuse_other_content, unpacked_name
from llmemb_plugins.datasets._json import objects, read_json

ROLES = ("user", "item", "rating", "fold", "time")
IDS = ROLES[:2]
SAMPLE = 20_480
"""Lines of events that are looked at for the names of keys; of items all, since any may hold another attribute."""
JSON = {".jsonl": "newline_delimited", ".ndjson": "newline_delimited", ".json": "auto"}
FORMATS = (*DELIMITERS, ".parquet", *JSON)
NO_ID = (
    *("nan", "NaN", "NAN", "-nan", "-NaN", "None", "none", "null", "Null", "NULL", "(null)"),
    *("NA", "N/A", "n/a", "#N/A", "<NA>", "NaT", r"\N"),
)
"""What programs write for an id that is missing; a user of that name would be everybody who has none."""
ATOMIC = {"user": "user_id", "item": "item_id", "time": "timestamp"}
"""Columns of RecBole's typed files where the settings say nothing else."""
PANDAS_INDEX = re.compile(r"Unnamed: \d+|__index_level_\d+__")


def _known(encoding: str) -> str:
    try:
        found = codecs.lookup(encoding)
        found.incrementaldecoder().decode(b"")
        "".encode(encoding)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError("should be an encoding that Python knows: utf-8, utf-16, latin-1, cp1252, ...") from error
    return found.name


def _one_ascii(quote: str) -> str:
    if quote and not "!" <= quote <= "~":
        raise ValueError("should be one visible ASCII character, or empty")
    return quote


class TableConfig(DatasetConfig):
    """Settings of `table`."""

    events: SpecPath
    """File of events: .csv, .tsv, .txt, .inter (RecBole), .parquet, .jsonl, .ndjson, .json, each but Parquet also with
    .gz or .zst. Part files are named with `*` and read in the order of their names."""
    validation: SpecPath | None = None
    """File of validation events, for `split: {by: file}`; `events` then holds the training events."""
    test: SpecPath | None = None
    """File of test events, likewise."""
    user: str = "user"
    """Column of the user's id."""
    item: str = "item"
    """Column of the item's id, in the events and in the items."""
    time: str | None = "time"
    """Column of the time (a number or a timestamp, in UTC unless it names an offset); null: the order of the file."""
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    """Unit of a time that is a number: seconds, milliseconds, microseconds or nanoseconds since 1970; when absent it is
    recognised by the size of the numbers, and `data describe` says so."""
    rating: str | None = None
    """Column of the rating, for min_rating."""
    fold: str | None = None
    """Column that says train, validation or test, for `split: {by: file}`."""
    items: SpecPath | None = None
    """File of items, of the same formats and .item; every other column of it is a text attribute, unless `attributes`
    names some."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """What stands between the values of a text table; when absent a comma, semicolon, bar or tab, by its first line."""
    quote: Annotated[str, Field(max_length=1), AfterValidator(_one_ascii)] = '"'
    """What stands around a value that holds the delimiter, written twice inside; empty: nothing does."""
    encoding: Annotated[str, AfterValidator(_known)] = "utf-8"
    """Encoding of text tables and JSON: any that Python knows; a byte-order mark is no part of the text."""
    remote: bool = False
    """Allow https:// and s3://, by DuckDB's httpfs: fetched once over https, its signature checked by DuckDB at each
    use; a file that changed under its URL is not noticed."""

    @model_validator(mode="after")
    def _told_apart(self) -> TableConfig:
        if self.delimiter == self.quote:
            raise ValueError(f"should have a delimiter that is not the quote: both are {self.quote!r}")
        return self

    def variant(self) -> str:
        return Path(self.events.text).name


class Table(Dataset):
    """Read by DuckDB; a column that is not there is an error that names those that are."""

    config: TableConfig
    obtain: ClassVar[str] = "set dataset.events and dataset.items to your files, relative to the spec"

    def time_unit(self) -> TimeUnit | None:
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
        given = self._given()
        if len(given) == 1:
            return self._events(db, self.config.events, None)
        if len(given) == 2 or self.config.fold is not None:
            raise SpecError("give both 'validation' and 'test', or a 'fold' column", where="dataset")
        return [relation for fold, path in given.items() for relation in self._events(db, path, fold)]

    def _given(self) -> dict[str, SpecPath]:
        parts = {"train": self.config.events, "validation": self.config.validation, "test": self.config.test}
        return {fold: path for fold, path in parts.items() if path is not None}

    def _events(self, db: DuckDBPyConnection, path: SpecPath, fold: str | None) -> list[DuckDBPyRelation]:
        """One relation for each gzip file; DuckDB reads files of any other kind side by side by itself."""
        files = self._files_of(path)
        groups = [[file] for file in files] if path.text.lower().endswith(".gz") else [files]
        return [self._selected(self._read(db, path, group, SAMPLE), path, fold) for group in groups]

    def _selected(self, source: Source, path: SpecPath, fold: str | None) -> DuckDBPyRelation:
        selected = []
        for role in ROLES:
            if column := self._column(role, source.columns, source.typed):
                self._refuse_missing(column, source, path)
                value = source.columns[column]
                selected.append(f"{_id(value) if role in IDS else value} as {sql.identifier(role)}")
        if fold:
            selected.append(f"'{fold}' as fold")
        return source.relation.select(", ".join(selected))

    def _column(self, role: str, columns: Collection[str], typed: bool) -> str | None:
        """The column that a setting names; in a typed header `user_id:token` is `user_id` too."""
        column: str | None = getattr(self.config, role)
        if column is None or column in columns or not typed:
            return column
        is_default = column == TableConfig.model_fields[role].default
        return ATOMIC.get(role, column) if is_default else column.partition(":")[0]

    def _refuse_missing(self, column: str, source: Source, path: SpecPath) -> None:
        if column in source.columns:
            return
        where = f"{path.text}:1" if _suffix(path) in DELIMITERS else path.text
        if len(source.columns) == 1 and _suffix(path) in DELIMITERS:
            [whole] = source.columns
            found = f"no column '{column}': the only one is '{whole[:60]}'"
            raise DataError(found, where=where, fix="what stands between the values? set dataset.delimiter")
        require_columns(list(source.columns), [column], where)

    def items(self, db: DuckDBPyConnection) -> Described | None:
        if self.config.items is None:
            return None
        source = self._read(db, self.config.items, self._files_of(self.config.items), sample=-1)
        item = self._column("item", source.columns, source.typed) or "item"
        self._refuse_missing(item, source, self.config.items)
        others = {name: value for name, value in source.columns.items() if name != item and self._is_text(name)}
        columns = {name: f"c{index}" for index, name in enumerate(others)}
        texts = [f"{value} as {columns[name]}" for name, value in others.items()]
        return Described(source.relation.select(", ".join([f"{source.columns[item]} as item", *texts])), columns)

    def _is_text(self, column: str) -> bool:
        """The row numbers that pandas writes are none, unless a spec names them."""
        return PANDAS_INDEX.fullmatch(column) is None or column in (self.config.attributes or ())

    def locate(self, event: int, role: str) -> tuple[str, str]:
        files = [file for path in self._given().values() if not _is_url(path) for file in self._parts(path)]
        rows = (row for file in files for row in self._rows(file))
        where, row = next(islice(rows, event, None), (str(files[0]) if files else self.config.events.text, {}))
        column = self._column(role, row, typed=bool(row)) or role
        return where, f"column '{column}' holds {str(row[column])[:40]!r}" if column in row else f"column '{column}'"

    def _rows(self, file: Path) -> Iterator[tuple[str, dict[str, object]]]:
        """Place and content of every row of a file of events that Python can read."""
        suffix = Path(unpacked_name(file.name)).suffix.lower()
        if packing(file) == "zstd" or suffix not in (*DELIMITERS, ".jsonl", ".ndjson"):
            return iter(())
        return objects(file) if suffix in JSON else records(file, self._form(suffix))

    def _files_of(self, path: SpecPath) -> list[Path | str]:
        return [path.text] if _is_url(path) else [*self._parts(path)]

    def _form(self, suffix: str) -> Form:
        guesses = DELIMITERS[suffix].replace(self.config.quote, "")
        return Form(self.config.delimiter or guesses, self.config.quote, self.config.encoding)

    def _read(self, db: DuckDBPyConnection, path: SpecPath, files: list[Path | str], sample: int) -> Source:
        suffix = _suffix(path)
        if suffix not in FORMATS:
            raise SpecError(
                f"'{suffix}' is not a known format", where=path.text, fix=f"use one of {', '.join(FORMATS)}"
            )
        if _is_url(path):
            self._allow_remote(db, path)
        if suffix in DELIMITERS:
            return read_delimited(db, files, self._form(suffix))
        if suffix in JSON:
            for file in files:
                if isinstance(file, Path):
                    refuse_other_content(file, self.config.encoding)
            plain = [in_utf8(db, file, self.config.encoding) if isinstance(file, Path) else file for file in files]
            return read_json(db, named(plain), JSON[suffix], sample)
        read = db.sql("select * from read_parquet(?, binary_as_string = true)", params=[named(files)])
        return Source(read, {name: sql.identifier(name) for name in read.columns})

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
                f"DuckDB's extension for remote files cannot be loaded: {str(error).splitlines()[0]}",
                where="dataset",
                fix="is the network reachable? or download the file and name it here",
            ) from error

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        lines = [f"u{user},i{(user + index) % 9},{1000 + index}\n" for user in range(8) for index in range(4)]
        (folder / "events.csv").write_text("user,item,time\n" + "".join(lines))
        (folder / "items.csv").write_text("item,title\n" + "".join(f"i{i},Thing {i}\n" for i in range(9)))
        return {"events": str(folder / "events.csv"), "items": str(folder / "items.csv")}


def _is_url(path: SpecPath) -> bool:
    return "://" in path.text


def _suffix(path: SpecPath) -> str:
    return Path(unpacked_name(Path(path.text).name.split("?")[0])).suffix.lower()


def _id(value: str) -> str:
    """SQL of an id; null where a program wrote that it has none."""
    # `not in` a longer list becomes a hash join, which does not keep the order of the file.
    is_id = " and ".join(f"{value}::varchar <> '{word}'" for word in NO_ID)
    return f"case when {is_id} then {value}::varchar end"
