"""MovieLens 100K and 1M, as GroupLens publishes them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.config import Config
from llmemb_bench.contracts import Dataset, FilesConfig
from llmemb_bench.errors import DataError

GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""Order of the flags in 100K's u.item."""


class MovieLensConfig(FilesConfig):
    """Settings of `movielens`."""

    release: Literal["100k", "1m"] = "100k"
    """Which release: u.data and u.item, or ratings.dat and movies.dat."""
    instruction: str = "The movie has the following attributes: "
    """The line that every prompt starts with (ours; the paper has no movies)."""


class MovieLens(Dataset):
    """Every rating is an event; text: title (with its year) and genres."""

    config: MovieLensConfig
    obtain: ClassVar[str] = (
        "download ml-100k.zip or ml-1m.zip from https://grouplens.org/datasets/movielens/ (research use, no "
        "redistribution, cite Harper & Konstan 2015), unpack it and set dataset.path to its folder"
    )

    @classmethod
    def variant(cls, config: Config) -> str:
        return MovieLensConfig.model_validate(config).release

    def files(self) -> Sequence[Path]:
        folder = self.config.path.resolve()
        names = {"100k": ("u.data", "u.item"), "1m": ("ratings.dat", "movies.dat")}[self.config.release]
        return [self.raw(folder, name, f"{name}.gz") for name in names]

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        split = {"100k": "\t", "1m": "::"}[self.config.release]
        rows = _lines(self.files()[0], split, 4)
        return _relation(db, {"user": 0, "item": 1, "time": 3}, rows, "events")

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        if self.config.release == "1m":
            rows = [
                [number, title, genres.replace("|", ", ")] for number, title, genres in _lines(self.files()[1], "::", 3)
            ]
        else:
            rows = [[row[0], row[1], _genres(row[5:])] for row in _lines(self.files()[1], "|", 24)]
        return _relation(db, {"item": 0, "title": 1, "genres": 2}, rows, "movies")

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        (folder / "u.data").write_text("".join(f"{u}\t{u + i}\t4\t{1000 + i}\n" for u in range(1, 9) for i in range(4)))
        flags = "|".join(["0"] * 18 + ["1"])
        lines = [f"{i}|Caf\xe9; Part {i} (1995)|01-Jan-1995|||{flags}\n" for i in range(1, 13)]
        (folder / "u.item").write_text("".join(lines), encoding="latin-1")
        return {"path": str(folder)}


def _lines(path: Path, split: str, n_fields: int) -> list[list[str]]:
    """Fields of every line; GroupLens writes latin-1."""
    opened = gzip.open if path.suffix == ".gz" else open
    rows = []
    try:
        with opened(path, "rt", encoding="latin-1") as file:
            for number, line in enumerate(file, start=1):
                fields = line.rstrip("\r\n").split(split)
                if len(fields) != n_fields:
                    raise DataError(f"has {len(fields)} fields, expected {n_fields}", where=f"{path}:{number}")
                rows.append(fields)
    except (OSError, EOFError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path), fix="download it again") from error
    return rows


def _genres(flags: list[str]) -> str:
    return ", ".join(genre for genre, flag in zip(GENRES, flags, strict=True) if flag == "1")


def _relation(db: DuckDBPyConnection, columns: dict[str, int], rows: list[list[str]], name: str) -> DuckDBPyRelation:
    """Rows of text as a table; an empty list gives an empty table."""
    db.execute(f"create or replace table {name} ({', '.join(f'{quoted(c)} varchar' for c in columns)})")
    if rows:
        chosen = {c: np.array([row[place] for row in rows], dtype=object) for c, place in columns.items()}  # noqa: F841
        db.execute(f"insert into {name} select * from chosen")
    return db.table(name)


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'
