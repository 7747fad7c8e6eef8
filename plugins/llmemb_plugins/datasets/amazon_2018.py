"""Amazon reviews of 2018 (Ni et al.), one category: Fashion is the paper's."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.config import Config
from llmemb_bench.contracts import Dataset, FilesConfig
from llmemb_plugins.datasets._files import json_lines

REVIEW = {"reviewerID": "VARCHAR", "asin": "VARCHAR", "unixReviewTime": "BIGINT"}
ITEM = {
    "asin": "VARCHAR",
    "title": "VARCHAR",
    "brand": "VARCHAR",
    "category": "VARCHAR[]",
    "description": "VARCHAR[]",
    "feature": "VARCHAR[]",
}


class Amazon2018Config(FilesConfig):
    """Settings of `amazon_2018`."""

    category: str
    """Category as the files are named, for example AMAZON_FASHION."""
    core5: bool = False
    """Read CATEGORY_5.json.gz instead of the full CATEGORY.json.gz."""
    instruction: str = "The fashion item has the following attributes: "
    """The line that every prompt starts with (paper's, for Fashion)."""
    attribute_chars: int | None = 100
    """Longest attribute value (paper: 100); rank, date and price never enter the text, because a sales rank is
    popularity (the published prompts hold it)."""


class Amazon2018(Dataset):
    """Every review is an event, whatever its rating; text: title, brand, category, description, feature."""

    config: Amazon2018Config
    obtain: ClassVar[str] = (
        "download CATEGORY.json.gz (or CATEGORY_5.json.gz) and meta_CATEGORY.json.gz from "
        "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/ (research use, cite Ni et al. 2019) into the folder "
        "that dataset.path names"
    )

    @classmethod
    def variant(cls, config: Config) -> str:
        return Amazon2018Config.model_validate(config).category

    def files(self) -> Sequence[Path]:
        folder, category = self.config.path.resolve(), self.config.category
        names = (f"{category}{'_5' if self.config.core5 else ''}.json.gz", f"meta_{category}.json.gz")
        return [self.raw(folder, name, name.removesuffix(".gz")) for name in names]

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return json_lines(db, self.files()[0], REVIEW).select(
            'reviewerID as "user", asin as item, unixReviewTime as "time"'
        )

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return json_lines(db, self.files()[1], ITEM).select("asin as item, * exclude asin")

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        reviews = [
            {"reviewerID": f"U{user}", "asin": f"B{(user + place) % 9}", "unixReviewTime": 1000 + place}
            for user in range(8)
            for place in range(4)
        ]
        items = [{"asin": f"B{place}", "title": f"Hat; size {place}", "category": ["Hats"]} for place in range(9)]
        for name, rows in (("Hats.json.gz", reviews), ("meta_Hats.json.gz", items)):
            with gzip.open(folder / name, "wt", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        return {"path": str(folder), "category": "Hats"}
