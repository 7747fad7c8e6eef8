"""MovieLens 100K and 1M, as GroupLens publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.config import Config
from llmemb_bench.contracts import Dataset, FilesConfig
from llmemb_bench.errors import DataError
from llmemb_plugins.datasets._files import lines, text_table

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
        separator = {"100k": "\t", "1m": "::"}[self.config.release]
        user, item, _, time = _columns(self.files()[0], separator, 4)
        return text_table(db, "rating", {"user": user, "item": item, "time": time})

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        if self.config.release == "1m":
            item, title, listed = _columns(self.files()[1], "::", 3)
            genres = [genre.replace("|", ", ") for genre in listed]
        else:
            item, title, _, _, _, *flags = _columns(self.files()[1], "|", 24)
            genres = [_genres(row) for row in zip(*flags, strict=True)]
        return text_table(db, "movie", {"item": item, "title": title, "genres": genres})

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        (folder / "u.data").write_text("".join(f"{u}\t{u + i}\t4\t{1000 + i}\n" for u in range(1, 9) for i in range(4)))
        flags = "|".join(["0"] * 18 + ["1"])
        lines = [f"{i}|Caf\xe9; Part {i} (1995)|01-Jan-1995|||{flags}\n" for i in range(1, 13)]
        (folder / "u.item").write_text("".join(lines), encoding="latin-1")
        return {"path": str(folder)}


def _columns(path: Path, separator: str, count: int) -> list[list[str]]:
    """The columns of a file of separated lines; GroupLens writes latin-1."""
    columns: list[list[str]] = [[] for _ in range(count)]
    for number, line in lines(path, "latin-1"):
        fields = line.rstrip("\r\n").split(separator)
        if len(fields) != count:
            raise DataError(f"has {len(fields)} fields, expected {count}", where=f"{path}:{number}")
        for column, value in zip(columns, fields, strict=True):
            column.append(value)
    return columns


def _genres(flags: tuple[str, ...]) -> str:
    return ", ".join(genre for genre, flag in zip(GENRES, flags, strict=True) if flag == "1")
