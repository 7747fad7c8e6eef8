"""Yelp reviews: today's open dataset, or the RecSys Challenge 2013 dump that the paper used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from duckdb import DuckDBPyConnection, DuckDBPyRelation
from pydantic import BeforeValidator

from llmemb_bench.contracts import Dataset, Figures, FilesConfig
from llmemb_bench.data.times import moment
from llmemb_plugins.datasets._json import json_lines, locate_json

REVIEW = {"user_id": "VARCHAR", "business_id": "VARCHAR", "date": "VARCHAR", "stars": "VARCHAR"}
ROLES = {"user": "user_id", "item": "business_id", "time": "date", "rating": "stars"}
# Categories are one string in the open dataset and a list in the dump of 2013.
BUSINESS = {
    "open": {"business_id": "VARCHAR", "name": "VARCHAR", "categories": "VARCHAR", "city": "VARCHAR"},
    "2013": {
        "business_id": "VARCHAR",
        "name": "VARCHAR",
        "categories": "VARCHAR[]",
        "neighborhoods": "VARCHAR[]",
        "full_address": "VARCHAR",
        "city": "VARCHAR",
    },
}
EVERY_BUSINESS = {"state": "VARCHAR", "review_count": "VARCHAR", "stars": "VARCHAR"}


def _year(value: object) -> object:
    return str(value) if type(value) is int else value  # 2013 without quotes is a number in YAML


class YelpConfig(FilesConfig):
    """Settings of `yelp`."""

    release: Annotated[Literal["open", "2013"], BeforeValidator(_year)] = "open"
    """The open dataset, or the challenge dump (the paper's: 15,720 users after its filters)."""
    reviews: str | None = None
    """File name of the reviews, if not the official one."""
    businesses: str | None = None
    """File name of the businesses, if not the official one."""
    instruction: str = "The point of interest has the following attributes: "
    """The line that every prompt starts with (paper's)."""

    def variant(self) -> str:
        return "" if self.release == "open" else self.release


class Yelp(Dataset):
    """Every review is an event; text: name, categories, city, state; in 2013 neighborhoods and full_address too.

    review_count and stars are popularity of the whole period, test events included, and only text where a spec names
    them (the published prompts hold them). Longitude and latitude are never text (paper's).
    """

    config: YelpConfig
    obtain: ClassVar[str] = (
        "the open dataset: accept the terms at https://www.yelp.com/dataset (academic, non-commercial, no "
        "redistribution), unpack it and set dataset.path to its folder; release 2013: join "
        "https://www.kaggle.com/c/yelp-recsys-2013 and unpack yelp_training_set.zip there"
    )

    names_no_offset: ClassVar[bool] = True
    popularity_attributes: ClassVar[frozenset[str]] = frozenset({"review_count", "stars"})
    figures: ClassVar[Sequence[Figures]] = (
        Figures(
            "LLMEmb's Yelp (its interaction file)",
            {"release": "2013", "min_user_events": 3, "min_item_events": 3, "min_history": 3},
            15_720,
            11_383,
            192_214,
        ),
    )

    def files(self) -> Sequence[Path]:
        folder = self.config.path.resolve()
        stem = {"open": "yelp_academic_dataset", "2013": "yelp_training_set"}[self.config.release]
        names = (
            self.config.reviews or f"{stem}_review.json",
            self.config.businesses or f"{stem}_business.json",
        )
        return [self.raw(folder, name, f"{name}.gz", f"{name}.zst") for name in names]

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return json_lines(db, self.files()[:1], REVIEW).select(
            f'user_id as "user", business_id as item, stars as rating, epoch({moment("date")})::bigint as "time"'
        )

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        columns = BUSINESS[self.config.release] | EVERY_BUSINESS
        return json_lines(db, self.files()[1:], columns).select("business_id as item, * exclude business_id")

    def locate(self, event: int, role: str) -> tuple[str, str]:
        return locate_json(self.files()[0], event, ROLES[role])

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        reviews = [
            {
                "user_id": f"u{user}",
                "business_id": f"b{(user + index) % 9}",
                "date": f"2019-01-0{index + 1} 00:00:09",
            }
            for user in range(8)
            for index in range(4)
        ]
        places = [
            {"business_id": f"b{index}", "name": f"Bar; {index}", "categories": "Bars, Food"} for index in range(9)
        ]
        for name, rows in (("review", reviews), ("business", places)):
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"yelp_academic_dataset_{name}.json").write_text(lines, encoding="utf-8")
        return {"path": str(folder)}
