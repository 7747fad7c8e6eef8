"""Amazon reviews of 2018 (Ni et al.), one category: Fashion is the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from duckdb import DuckDBPyConnection, DuckDBPyRelation
from pydantic import Field

from llmemb_bench.contracts import Dataset, Download, Figures, FilesConfig
from llmemb_plugins.datasets._json import example_lines, json_lines, locate_json

REVIEW = {"reviewerID": "VARCHAR", "asin": "VARCHAR", "unixReviewTime": "VARCHAR", "overall": "VARCHAR"}
ROLES = {"user": "reviewerID", "item": "asin", "time": "unixReviewTime", "rating": "overall"}
ITEM = {
    "asin": "VARCHAR",
    "title": "VARCHAR",
    "brand": "VARCHAR",
    "category": "VARCHAR[]",
    "description": "VARCHAR[]",
    "feature": "VARCHAR[]",
    "tech1": "VARCHAR",
    "date": "VARCHAR",
    "price": "VARCHAR",
    "rank": "JSON",
}
FOLDER = "https://datarepo.eng.ucsd.edu/mcauley_group/data/amazon_v2"


class Amazon2018Config(FilesConfig):
    """Settings of `amazon_2018`."""

    category: str
    """Category as the files are named, for example AMAZON_FASHION."""
    core5: bool = False
    """Read CATEGORY_5.json.gz instead of the full CATEGORY.json.gz."""
    instruction: str = "The fashion item has the following attributes: "
    """The line that every prompt starts with (paper's, for Fashion)."""
    attribute_chars: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = 100
    """Longest attribute value (paper: 100)."""

    def variant(self) -> str:
        return self.category

    def downloads(self) -> Sequence[Download]:
        small = f"categoryFilesSmall/{self.category}_5" if self.core5 else f"categoryFiles/{self.category}"
        return [Download(f"{FOLDER}/{name}.json.gz") for name in (small, f"metaFiles2/meta_{self.category}")]


class Amazon2018(Dataset):
    """Every review is an event, whatever its rating; text: title, brand, category, description, feature, tech1,
    date, price.

    `fit`, `also_buy`, `also_view`, `similar_item` and images are never text (paper's); `rank` is a sales rank,
    popularity therefore, and only text where a spec names it (the published prompts hold it).
    """

    config: Amazon2018Config
    obtain: ClassVar[str] = (
        "llmemb-bench data fetch amazon_2018, or download CATEGORY.json.gz (or CATEGORY_5.json.gz) and "
        "meta_CATEGORY.json.gz from https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/ into the folder that "
        "dataset.path names"
    )
    licence: ClassVar[str] = "research use; cite Ni et al. 2019"
    popularity_attributes: ClassVar[frozenset[str]] = frozenset({"rank"})
    figures: ClassVar[Sequence[Figures]] = tuple(
        Figures(f"official {category} 5-core", {"category": category, "core5": True}, users, items, events)
        for category, users, items, events in (
            ("Gift_Cards", 458, 148, 2_972),
            ("AMAZON_FASHION", 406, 31, 3_176),
            ("All_Beauty", 991, 85, 5_269),
        )
    )

    def files(self) -> Sequence[Path]:
        folder, category = self.config.path.resolve(), self.config.category
        names = (f"{category}{'_5' if self.config.core5 else ''}.json", f"meta_{category}.json")
        return [self.raw(folder, f"{name}.gz", name, f"{name}.zst") for name in names]

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return json_lines(db, self.files()[:1], REVIEW).select(
            'reviewerID as "user", asin as item, try_cast(unixReviewTime as bigint) as "time", overall as rating'
        )

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return json_lines(db, self.files()[1:], ITEM).select("asin as item, * exclude asin")

    def locate(self, event: int, role: str) -> tuple[str, str]:
        return locate_json(self.files()[0], event, ROLES[role])

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        example_lines(
            folder,
            "Hats.json.gz",
            [
                {"reviewerID": f"U{user}", "asin": f"B{(user + index) % 9}", "unixReviewTime": 1000 + index}
                for user in range(8)
                for index in range(4)
            ],
        )
        example_lines(
            folder,
            "meta_Hats.json.gz",
            [
                {"asin": f"B{index}", "title": f"Hat; size {index}", "category": ["Hats", ""], "rank": ["1 in Hats"]}
                for index in range(9)
            ],
        )
        return {"path": str(folder), "category": "Hats"}
