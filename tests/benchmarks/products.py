"""A generated catalogue whose prompts are as long as those of a shop: some 75 tokens, a few several times that."""

from __future__ import annotations

import numpy as np

from llmemb_bench.values.recdata import Items

WORDS = (
    *(
        "red",
        "soap",
        "brush",
        "hair",
        "skin",
        "face",
        "rose",
        "oil",
        "lemon",
        "tea",
        "cream",
        "body",
        "gentle",
        "daily",
    ),
    *("repair", "natural", "lotion", "shampoo", "travel", "size", "pack", "ounce", "organic", "mist", "nail", "polish"),
    *("moisturizing", "anti-aging", "fragrance", "sensitive", "waterproof", "mascara", "eyeliner", "conditioner"),
)


def products(count: int) -> Items:
    """Items with title, brand, category and description."""
    rng = np.random.default_rng(0)

    def text(words: int) -> str:
        return " ".join(rng.choice(WORDS, size=max(1, words)))

    rows = [
        (
            ("title", text(int(rng.gamma(4, 3)))),
            ("brand", text(2)),
            ("category", text(5)),
            ("description", text(int(rng.gamma(2, 12)))),
        )
        for _ in range(count)
    ]
    return Items.of([f"p{place}" for place in range(count)], rows)
