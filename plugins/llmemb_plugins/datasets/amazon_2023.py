"""Amazon reviews of 2023 (Hou et al.), any category."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from duckdb import DuckDBPyConnection, DuckDBPyRelation
from pydantic import Field

from llmemb_bench.contracts import Dataset, Download, FilesConfig
from llmemb_bench.values.recdata import TimeUnit
from llmemb_plugins.datasets._json import example_lines, json_lines, locate_json

REVIEW = {"user_id": "VARCHAR", "parent_asin": "VARCHAR", "timestamp": "VARCHAR", "rating": "VARCHAR"}
ROLES = {"user": "user_id", "item": "parent_asin", "time": "timestamp", "rating": "rating"}
ITEM = {
    "parent_asin": "VARCHAR",
    "title": "VARCHAR",
    "store": "VARCHAR",
    "main_category": "VARCHAR",
    "categories": "VARCHAR[]",
    "features": "VARCHAR[]",
    "description": "VARCHAR[]",
    "price": "VARCHAR",
    "average_rating": "VARCHAR",
    "rating_number": "VARCHAR",
}
FOLDER = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw"


class Amazon2023Config(FilesConfig):
    """Settings of `amazon_2023`."""

    category: str
    """Category as the files are named, for example All_Beauty."""
    instruction: str = "The item has the following attributes: "
    """The line that every prompt starts with (ours; the paper has no data of 2023)."""
    attribute_chars: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = 100
    """Longest attribute value (as the paper has it for the earlier releases)."""

    def variant(self) -> str:
        return self.category

    def downloads(self) -> Sequence[Download]:
        names = (f"review_categories/{self.category}", f"meta_categories/meta_{self.category}")
        return [Download(f"{FOLDER}/{name}.jsonl.gz") for name in names]


class Amazon2023(Dataset):
    """Every review is an event; an item is a `parent_asin`, so that the variants of a product are one item.

    Text: title, store, main_category, categories, features, description, price. average_rating and rating_number
    are popularity and only text where a spec names them.
    """

    config: Amazon2023Config
    obtain: ClassVar[str] = (
        "llmemb-bench data fetch amazon_2023, or download CATEGORY.jsonl.gz and meta_CATEGORY.jsonl.gz from "
        "https://amazon-reviews-2023.github.io/ into the folder that dataset.path names"
    )
    licence: ClassVar[str] = "research use; cite Hou et al. 2024"
    popularity_attributes: ClassVar[frozenset[str]] = frozenset({"average_rating", "rating_number"})

    def time_unit(self) -> TimeUnit:
        return "ms"

    def files(self) -> Sequence[Path]:
        folder, category = self.config.path.resolve(), self.config.category
        names = (f"{category}.jsonl", f"meta_{category}.jsonl")
        return [self.raw(folder, f"{name}.gz", name, f"{name}.zst") for name in names]

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return json_lines(db, self.files()[:1], REVIEW).select(
            'user_id as "user", parent_asin as item, try_cast("timestamp" as bigint) as "time", rating'
        )

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return json_lines(db, self.files()[1:], ITEM).select("parent_asin as item, * exclude parent_asin")

    def locate(self, event: int, role: str) -> tuple[str, str]:
        return locate_json(self.files()[0], event, ROLES[role])

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        example_lines(
            folder,
            "Hats.jsonl.gz",
            [
                {
                    "user_id": f"U{user}",
                    "parent_asin": f"B{(user + index) % 9}",
                    "timestamp": 10**12 + index,
                    "rating": 4,
                }
                for user in range(8)
                for index in range(4)
            ],
        )
        example_lines(
            folder,
            "meta_Hats.jsonl.gz",
            [
                {"parent_asin": f"B{index}", "title": f"Hat; size {index}", "features": ["Warm"], "average_rating": 4.5}
                for index in range(9)
            ],
        )
        return {"path": str(folder), "category": "Hats"}
