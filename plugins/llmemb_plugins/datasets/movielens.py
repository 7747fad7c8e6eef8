"""MovieLens 100K, 1M, 10M, 20M, 25M and 32M, as GroupLens publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.base.errors import DataError
from llmemb_bench.contracts import Dataset, Download, Figures, FilesConfig
from llmemb_plugins.datasets._delimited import Form, header
from llmemb_plugins.datasets._files import named

GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""Order of the flags in 100K's u.item."""


@dataclass(frozen=True)
class Release:
    """How one release is written."""

    ratings: str
    movies: str
    separator: str
    encoding: str
    checksum: str | None
    """MD5 that GroupLens publishes beside the archive."""


RELEASES = {
    "100k": Release("u.data", "u.item", "\t", "latin-1", "md5:0e33842e24a9c977be4e0107933c0723"),
    "1m": Release("ratings.dat", "movies.dat", "::", "latin-1", "md5:c4d9eecfca2ab87c1945afe126590906"),
    "10m": Release("ratings.dat", "movies.dat", "::", "utf-8", "md5:ce571fd55effeba0271552578f2648bd"),
    "20m": Release("ratings.csv", "movies.csv", ",", "utf-8", "md5:cd245b17a1ae2cc31bb14903e1204af3"),
    "25m": Release("ratings.csv", "movies.csv", ",", "utf-8", None),
    "32m": Release("ratings.csv", "movies.csv", ",", "utf-8", None),
}


class MovieLensConfig(FilesConfig):
    """Settings of `movielens`."""

    release: Literal["100k", "1m", "10m", "20m", "25m", "32m"] = "100k"
    """Which release lies in the folder."""
    instruction: str = "The movie has the following attributes: "
    """The line that every prompt starts with (ours; the paper has no movies)."""

    def variant(self) -> str:
        return self.release

    def downloads(self) -> Sequence[Download]:
        url = f"https://files.grouplens.org/datasets/movielens/ml-{self.release}.zip"
        return [Download(url, RELEASES[self.release].checksum, unpack=True)]


class MovieLens(Dataset):
    """Every rating is an event; text: title (with its year) and genres."""

    config: MovieLensConfig
    obtain: ClassVar[str] = (
        "llmemb-bench data fetch movielens, or download the release from "
        "https://grouplens.org/datasets/movielens/, unpack it and set dataset.path to its folder"
    )
    licence: ClassVar[str] = "research use, no redistribution, no commercial use; cite Harper & Konstan 2015"
    figures: ClassVar[Sequence[Figures]] = tuple(
        Figures("GroupLens, items that were rated", {"release": release}, users, items, events)
        for release, users, items, events in (
            ("100k", 943, 1_682, 100_000),
            ("1m", 6_040, 3_706, 1_000_209),
            ("10m", 69_878, 10_677, 10_000_054),
            ("20m", 138_493, 26_744, 20_000_263),
            ("25m", 162_541, 59_047, 25_000_095),
            ("32m", 200_948, 84_432, 32_000_204),
        )
    )

    @property
    def _release(self) -> Release:
        return RELEASES[self.config.release]

    def files(self) -> Sequence[Path]:
        folder = self.config.path.resolve()
        return [
            self.raw(folder, name, f"{name}.gz", f"*/{name}") for name in (self._release.ratings, self._release.movies)
        ]

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        rating = 'userId as "user", movieId as item, try_cast(timestamp as bigint) as "time", rating'
        return self._table(db, self.files()[0], ["userId", "movieId", "rating", "timestamp"]).select(rating)

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        path = self.files()[1]
        if self.config.release != "100k":
            movies = self._table(db, path, ["item", "title", "genres"])
            return movies.select("item, title, replace(nullif(genres, '(no genres listed)'), '|', ', ') as genres")
        flags = [f"flag{index}" for index in range(len(GENRES))]
        movies = self._table(db, path, ["item", "title", "released", "video", "url", *flags])
        genres = ", ".join(
            f"case {flag} when '1' then '{genre.replace(chr(39), chr(39) * 2)}' end"
            for flag, genre in zip(flags, GENRES, strict=True)
        )
        return movies.select(f"item, title, list_filter([{genres}], lambda genre: genre is not null) as genres")

    def locate(self, event: int, role: str) -> tuple[str, str]:
        return f"{self.files()[0]}:{event + 1 + (self._release.separator == ',')}", ""

    def _table(self, db: DuckDBPyConnection, path: Path, columns: list[str]) -> DuckDBPyRelation:
        """A file's columns as text; the older releases quote nothing, the newer ones like a spreadsheet."""
        csv = self._release.separator == ","
        if csv:
            _refuse_other_columns(db, path, ["movieId" if column == "item" else column for column in columns])
        separator = "|" if path.name.startswith("u.item") else self._release.separator
        return db.sql(
            "select * from read_csv(?, columns = ?, delim = ?, encoding = ?, header = ?, quote = ?, escape = ?, "
            "auto_detect = false, strict_mode = true, null_padding = false)",
            params=[
                named([path]),
                dict.fromkeys(columns, "VARCHAR"),
                separator,
                self._release.encoding,
                csv,
                *(['"', '"'] if csv else ["", ""]),
            ],
        )

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        (folder / "u.data").write_text("".join(f"{u}\t{u + i}\t4\t{1000 + i}\n" for u in range(1, 9) for i in range(4)))
        flags = "|".join(["0"] * 18 + ["1"])
        lines = [f'{i}|Caf\xe9; "Part {i}" (1995)|01-Jan-1995|||{flags}\n' for i in range(1, 13)]
        (folder / "u.item").write_text("".join(lines), encoding="latin-1")
        return {"path": str(folder)}


def _refuse_other_columns(db: DuckDBPyConnection, path: Path, wanted: list[str]) -> None:
    """Without its first line a file would lose a rating, and with columns in another order mix users and items."""
    found = header(db, [path], Form(",")).names
    if found != wanted:
        raise DataError(
            f"begins with {','.join(found)[:60]}, should begin with {','.join(wanted)}",
            where=f"{path}:1",
            fix="is it the file of this release? unpack it again",
        )
