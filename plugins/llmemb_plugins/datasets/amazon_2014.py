"""Amazon reviews of 2014 (McAuley), one category: Beauty is the paper's."""

from __future__ import annotations

import ast
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.config import Config
from llmemb_bench.contracts import Dataset, FilesConfig
from llmemb_bench.errors import DataError
from llmemb_plugins.datasets._files import json_lines, lines, text_table

REVIEW = {"reviewerID": "VARCHAR", "asin": "VARCHAR", "unixReviewTime": "BIGINT"}
ITEM = {
    "asin": "VARCHAR",
    "title": "VARCHAR",
    "brand": "VARCHAR",
    "categories": "VARCHAR[][]",
    "description": "VARCHAR",
}


class Amazon2014Config(FilesConfig):
    """Settings of `amazon_2014`."""

    category: str
    """Category as the files are named, for example Beauty."""
    core5: bool = False
    """Read reviews_CATEGORY_5.json.gz instead of the full reviews (the paper filters the full ones itself)."""
    reviews: str | None = None
    """File name of the reviews, if not the official one."""
    meta: str | None = None
    """File name of the items, if not the official one."""
    instruction: str = "The beauty item has the following attributes: "
    """The line that every prompt starts with (paper's, for Beauty)."""
    attribute_chars: int | None = 100
    """Longest attribute value (paper: 100); price, related and salesRank never enter the text, because a sales
    rank is popularity."""


class Amazon2014(Dataset):
    """Every review is an event, whatever its rating; text: title, brand, first category path, description."""

    config: Amazon2014Config
    obtain: ClassVar[str] = (
        "download reviews_CATEGORY.json.gz (or reviews_CATEGORY_5.json.gz) and meta_CATEGORY.json.gz from "
        "https://jmcauley.ucsd.edu/data/amazon/links.html (research use, cite McAuley et al. 2015; He & McAuley "
        "2016) into the folder that dataset.path names"
    )

    @classmethod
    def variant(cls, config: Config) -> str:
        return Amazon2014Config.model_validate(config).category

    def files(self) -> Sequence[Path]:
        folder, category = self.config.path.resolve(), self.config.category
        reviews = self.config.reviews or f"reviews_{category}{'_5' if self.config.core5 else ''}.json.gz"
        meta = self.config.meta or f"meta_{category}.json.gz"
        return [self.raw(folder, name, name.removesuffix(".gz")) for name in (reviews, meta)]

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return json_lines(db, self.files()[0], REVIEW).select(
            'reviewerID as "user", asin as item, unixReviewTime as "time"'
        )

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        path = self.files()[1]
        if not _is_json(path):
            return text_table(db, "product", _from_literals(path))
        return json_lines(db, path, ITEM).select("asin as item, title, brand, categories[1] as categories, description")

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        reviews = [
            {
                "reviewerID": f"U{user}",
                "asin": f"B{(user + place) % 9}",
                "unixReviewTime": 1000 + place,
                "overall": 5.0,
            }
            for user in range(8)
            for place in range(4)
        ]
        items = [
            {
                "asin": f"B{place}",
                "title": f"Soap &amp; Brush; size {place}",
                "categories": [["Beauty", "Soap"]],
            }
            for place in range(9)
        ]
        for name, rows in (
            ("reviews_Beauty.json.gz", map(json.dumps, reviews)),
            ("meta_Beauty.json.gz", map(str, items)),
        ):
            with gzip.open(folder / name, "wt", encoding="utf-8") as file:
                file.writelines(f"{row}\n" for row in rows)
        return {"path": str(folder), "category": "Beauty"}


def _is_json(path: Path) -> bool:
    _, first = next(lines(path, "utf-8"), (1, "{}"))
    try:
        json.loads(first)
    except json.JSONDecodeError:
        return False
    return True


def _from_literals(path: Path) -> dict[str, list[str | None]]:
    """Columns of the official file, whose lines are Python literals: parsed as such, never evaluated."""
    columns: dict[str, list[str | None]] = {
        name: [] for name in ("item", "title", "brand", "categories", "description")
    }
    for number, line in lines(path, "utf-8"):
        try:
            row = ast.literal_eval(line)
            first_path = (row.get("categories") or [[]])[0]
        except (ValueError, SyntaxError, AttributeError) as error:
            raise DataError("is neither JSON nor a Python literal", where=f"{path}:{number}") from error
        row |= {"item": row.get("asin"), "categories": ", ".join(first_path)}
        for name, column in columns.items():
            column.append(row.get(name))
    return columns
