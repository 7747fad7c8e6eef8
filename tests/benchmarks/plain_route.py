"""The route that scripts take: every line through a JSON parser, everything in Python objects. Same result as ours.

python -m tests.benchmarks.plain_route json|orjson FOLDER
"""

from __future__ import annotations

import gzip
import importlib
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmemb_bench.data.texts import clean
from tests.helpers.raw_amazon import CATEGORY

LEAST = 3
LONGEST = 100
TEXT = ("title", "brand", "category", "description", "feature", "tech1", "date", "price")


def prepare(folder: Path, loads: Callable[[bytes], Any]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Histories by user and cleaned attributes by item: single-pass 3-core, three events a user at least."""
    events = []
    with gzip.open(folder / f"{CATEGORY}.json.gz", "rb") as file:
        for line in file:
            row = loads(line)
            events.append((row["reviewerID"], row["asin"], row["unixReviewTime"]))
    users, items = Counter(user for user, _, _ in events), Counter(item for _, item, _ in events)
    timed: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for user, item, moment in events:
        if users[user] >= LEAST and items[item] >= LEAST:
            timed[user].append((moment, item))
    histories = {
        user: [item for _, item in sorted(rows, key=lambda row: row[0])]
        for user, rows in timed.items()
        if len(rows) >= LEAST
    }
    kept = {item for history in histories.values() for item in history}
    texts: dict[str, list[str]] = {}
    with gzip.open(folder / f"meta_{CATEGORY}.json.gz", "rb") as file:
        for line in file:
            row = loads(line)
            if row["asin"] in kept and row["asin"] not in texts:
                values = (row[name] for name in TEXT)
                joined = (", ".join(filter(None, value)) if isinstance(value, list) else value for value in values)
                texts[row["asin"]] = [clean(value)[:LONGEST].strip() for value in joined]
    return histories, texts


if __name__ == "__main__":
    parser, folder = sys.argv[1:]
    loads = importlib.import_module(parser).loads
    start = time.perf_counter()
    prepare(Path(folder), loads)
    print(time.perf_counter() - start)  # noqa: T201
