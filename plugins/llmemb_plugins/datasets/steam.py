"""Steam reviews of games (Kang & McAuley; Pathak et al.), as UCSD publishes them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.contracts import Dataset, Download, FilesConfig
from llmemb_plugins.datasets._json import loose_json_lines

REVIEW = {"username": "VARCHAR", "product_id": "VARCHAR", "date": "VARCHAR"}
GAME = {
    "id": "VARCHAR",
    "app_name": "VARCHAR",
    "developer": "VARCHAR",
    "publisher": "VARCHAR",
    "genres": "VARCHAR[]",
    "tags": "VARCHAR[]",
    "specs": "VARCHAR[]",
    "sentiment": "VARCHAR",
}
FILES = ("steam_reviews.json.gz", "steam_games.json.gz")


class SteamConfig(FilesConfig):
    """Settings of `steam`."""

    instruction: str = "The game has the following attributes: "
    """The line that every prompt starts with (ours; the paper has no games)."""

    def downloads(self) -> Sequence[Download]:
        return [Download(f"https://cseweb.ucsd.edu/~wckang/{name}") for name in FILES]


class Steam(Dataset):
    """Every review is an event, at the day it was written; a user is a username.

    Text: title (app_name), developer, publisher, genres, tags, specs. `sentiment` tells how many reviews there are
    and is only text where a spec names it.
    """

    config: SteamConfig
    obtain: ClassVar[str] = (
        "llmemb-bench data fetch steam, or download steam_reviews.json.gz and steam_games.json.gz from "
        "https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data into the folder that dataset.path names"
    )
    licence: ClassVar[str] = "research use; cite Kang & McAuley 2018"
    names_no_offset: ClassVar[bool] = True
    popularity_attributes: ClassVar[frozenset[str]] = frozenset({"sentiment"})

    def files(self) -> Sequence[Path]:
        folder = self.config.path.resolve()
        return [self.raw(folder, name, name.removesuffix(".gz")) for name in FILES]

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return loose_json_lines(db, self.files()[0], REVIEW).select(
            'username as "user", product_id as item, epoch(try_cast("date" as date))::bigint as "time"'
        )

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return loose_json_lines(db, self.files()[1], GAME).select(
            "id as item, app_name as title, * exclude (id, app_name)"
        )

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        reviews = [
            f"{{u'username': u'U{user}', u'early_access': False, u'product_id': u'{(user + index) % 9}', "
            f"u'date': u'2017-12-{index + 10}', u'text': u\"It's 'username': 'x'\"}}"
            for user in range(8)
            for index in range(4)
        ]
        games = [
            f"{{u'app_name': u'Caf\\xe9; {index}', u'genres': [u'Action'], u'id': u'{index}'}}" for index in range(9)
        ]
        for name, rows in zip(FILES, (reviews, games), strict=True):
            with gzip.open(folder / name, "wt", encoding="utf-8") as file:
                file.writelines(f"{row}\n" for row in rows)
        return {"path": str(folder)}
