"""Amazon reviews of 2014 (McAuley), one category: Beauty is the paper's."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from duckdb import DuckDBPyConnection, DuckDBPyRelation
from pydantic import Field

from llmemb_bench.contracts import Dataset, Download, Figures, FilesConfig
from llmemb_plugins.datasets._json import example_lines, locate_json, loose_json_lines

REVIEW = {"reviewerID": "VARCHAR", "asin": "VARCHAR", "unixReviewTime": "VARCHAR", "overall": "VARCHAR"}
ROLES = {"user": "reviewerID", "item": "asin", "time": "unixReviewTime", "rating": "overall"}
ITEM = {
    "asin": "VARCHAR",
    "title": "VARCHAR",
    "brand": "VARCHAR",
    "categories": "VARCHAR[][]",
    "description": "VARCHAR",
    "price": "VARCHAR",
    "salesRank": "JSON",
}
FOLDER = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"


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
    attribute_chars: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = 100
    """Longest attribute value (paper: 100)."""

    def variant(self) -> str:
        return self.category

    def downloads(self) -> Sequence[Download]:
        names = (f"reviews_{self.category}{'_5' if self.core5 else ''}", f"meta_{self.category}")
        return [Download(f"{FOLDER}/{name}.json.gz") for name in names]


class Amazon2014(Dataset):
    """Every review is an event, whatever its rating; text: title, brand, first category path, description, price.

    `related` and `imUrl` are never text (paper's); `salesRank` is popularity and only text where a spec names it.
    """

    config: Amazon2014Config
    obtain: ClassVar[str] = (
        "llmemb-bench data fetch amazon_2014, or download reviews_CATEGORY.json.gz (or reviews_CATEGORY_5.json.gz) and "
        "meta_CATEGORY.json.gz from https://jmcauley.ucsd.edu/data/amazon/links.html into the folder that dataset.path "
        "names"
    )
    licence: ClassVar[str] = "research use; cite McAuley et al. 2015 and He & McAuley 2016"
    popularity_attributes: ClassVar[frozenset[str]] = frozenset({"salesRank"})
    figures: ClassVar[Sequence[Figures]] = (
        Figures("official Beauty 5-core", {"category": "Beauty", "core5": True}, 22_363, 12_101, 198_502),
        Figures(
            "LLMEmb's Beauty (its interaction file)",
            {"category": "Beauty", "core5": False, "reviews": None, "min_user_events": 5, "min_item_events": 5},
            52_204,
            57_289,
            394_908,
        ),
    )

    def files(self) -> Sequence[Path]:
        folder, category = self.config.path.resolve(), self.config.category
        reviews = self.config.reviews or f"reviews_{category}{'_5' if self.config.core5 else ''}.json.gz"
        meta = self.config.meta or f"meta_{category}.json.gz"
        return [self.raw(folder, name, name.removesuffix(".gz")) for name in (reviews, meta)]

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return loose_json_lines(db, self.files()[0], REVIEW).select(
            'reviewerID as "user", asin as item, try_cast(unixReviewTime as bigint) as "time", overall as rating'
        )

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return loose_json_lines(db, self.files()[1], ITEM).select(
            "asin as item, title, brand, categories[1] as categories, description, price, salesRank"
        )

    def locate(self, event: int, role: str) -> tuple[str, str]:
        return locate_json(self.files()[0], event, ROLES[role])

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        example_lines(
            folder,
            "reviews_Beauty.json.gz",
            [
                {
                    "reviewerID": f"U{user}",
                    "asin": f"B{(user + index) % 9}",
                    "unixReviewTime": 1000 + index,
                    "overall": 5.0,
                }
                for user in range(8)
                for index in range(4)
            ],
        )
        items = [
            {
                "asin": f"B{index}",
                "title": f"Soap &amp; Brush; size {index}",
                "salesRank": {"Beauty": index},
                "categories": [["Beauty", "Soap's"]],
            }
            for index in range(9)
        ]
        with gzip.open(folder / "meta_Beauty.json.gz", "wt", encoding="utf-8") as file:
            file.writelines(f"{item}\n" for item in items)  # Python literals, as the official file
        return {"path": str(folder), "category": "Beauty"}
