"""Format-faithful raw files of any size: Amazon 2018 reviews and meta, `.json.gz`, generated (no real rows).

    python tests/helpers/raw_amazon.py FOLDER --reviews 2000000 --products 200000

Field names, order, value forms and bytes a line (190 gzipped for a review, 450 for a product) follow the
official files, because those decide what reading costs.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

CATEGORY = "Synthetic"
LINES_PER_BLOCK = 20_000
DAY = 86_400


class Words:
    """Random prose: slices of one long text whose words are as unequal as a language's."""

    def __init__(self, rng: np.random.Generator) -> None:
        letters = rng.integers(97, 123, size=(20_000, 12), dtype=np.uint8)
        lengths = rng.integers(2, 12, size=20_000)
        vocabulary = [bytes(row[:length]).decode() for row, length in zip(letters, lengths, strict=True)]
        ranks = np.arange(1, 20_001) ** -0.9  # steeper text would be smaller than the official files when gzipped
        picked = rng.choice(20_000, size=700_000, p=ranks / ranks.sum())
        self.text = " ".join(vocabulary[place] for place in picked)

    def slices(self, lengths: np.ndarray, rng: np.random.Generator) -> list[str]:
        """One text of each length, in characters."""
        starts = rng.integers(0, len(self.text) - int(lengths.max()), size=len(lengths))
        return [
            self.text[start : start + length] for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]


def asin(number: int) -> str:
    """Ten characters, as Amazon's."""
    return f"B{number * 7919 % 10**9:09d}"


def reviewer(number: int) -> str:
    """Thirteen to fourteen characters, as Amazon's."""
    return f"A{np.base_repr(number * 104_729 + 36**11, 36)}Z"


def review_lines(n_reviews: int, n_products: int, rng: np.random.Generator) -> Iterator[str]:
    """Reviews grouped by product, as in the official files; users and products have long tails."""
    words, n_users = Words(rng), max(n_reviews // 3, 1)
    counts = rng.multinomial(n_reviews, _tail_weights(n_products, rng))
    names = [reviewer(user) for user in range(n_users)]
    products = np.repeat(np.arange(n_products), counts)
    for start in range(0, n_reviews, LINES_PER_BLOCK):
        block = products[start : start + LINES_PER_BLOCK]
        users = (n_users * rng.random(len(block)) ** 2).astype(int)
        days = rng.integers(12_000, 17_800, size=len(block))
        texts = words.slices(rng.gamma(1.2, 260, size=len(block)).astype(int) + 20, rng)
        summaries = words.slices(rng.integers(5, 40, size=len(block)), rng)
        stars = rng.integers(1, 6, size=len(block))
        for row, product in enumerate(block.tolist()):
            yield json.dumps(
                {
                    "overall": float(stars[row]),
                    "verified": bool(stars[row] % 2),
                    "reviewTime": "09 1, 2016",
                    "reviewerID": names[users[row]],
                    "asin": asin(product),
                    "style": {"Size:": " 7.0 oz"},
                    "reviewerName": summaries[row][:12],
                    "reviewText": texts[row],
                    "summary": summaries[row],
                    "unixReviewTime": int(days[row]) * DAY,
                }
            )


def product_lines(n_products: int, rng: np.random.Generator) -> Iterator[str]:
    """Products with every field of the official files."""
    words = Words(rng)
    for start in range(0, n_products, LINES_PER_BLOCK):
        count = min(LINES_PER_BLOCK, n_products - start)
        titles = words.slices(rng.integers(20, 110, size=count), rng)
        descriptions = words.slices(rng.gamma(1.2, 480, size=count).astype(int) + 20, rng)
        others = rng.integers(0, n_products, size=(count, 12))
        for row in range(count):
            also = [asin(other) for other in others[row].tolist()]
            yield json.dumps(
                {
                    "category": ["Synthetic", titles[row][:14], titles[row][5:17]],
                    "tech1": "",
                    "description": [descriptions[row]],
                    "fit": "",
                    "title": f"{titles[row]} &amp; more",
                    "also_buy": also[:8],
                    "tech2": "",
                    "brand": titles[row][:9],
                    "feature": [descriptions[row][:60], titles[row][3:40]],
                    "rank": f"{row + 1:,} in Synthetic &amp; More (",
                    "also_view": also[8:],
                    "details": {"Shipping Weight:": "4 ounces"},
                    "main_cat": "Synthetic",
                    "similar_item": "",
                    "date": "",
                    "price": "$9.99",
                    "asin": asin(start + row),
                    "imageURL": [f"https://images.example/{asin(start + row)}._SS40_.jpg"],
                    "imageURLHighRes": [f"https://images.example/{asin(start + row)}.jpg"],
                }
            )


def _tail_weights(n_products: int, rng: np.random.Generator) -> np.ndarray:
    weights = rng.permutation((1.0 + np.arange(n_products)) ** -0.8)
    return weights / weights.sum()


def write(folder: Path, n_reviews: int, n_products: int, seed: int = 1, level: int = 6) -> Path:
    """`CATEGORY.json.gz` and `meta_CATEGORY.json.gz`."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (
        (f"{CATEGORY}.json.gz", review_lines(n_reviews, n_products, rng)),
        (f"meta_{CATEGORY}.json.gz", product_lines(n_products, rng)),
    ):
        with gzip.open(folder / name, "wt", compresslevel=level, encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reviews", type=int, default=2_000_000)
    parser.add_argument("--products", type=int, default=200_000)
    parser.add_argument("--level", type=int, default=6)
    given = parser.parse_args()
    write(given.folder, given.reviews, given.products, level=given.level)
