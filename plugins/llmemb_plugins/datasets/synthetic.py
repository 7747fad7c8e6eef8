"""A generated catalogue (synthetic, no real data): item texts carry the taste that drives users' sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from duckdb import DuckDBPyConnection, DuckDBPyRelation
from numpy.typing import NDArray
from pydantic import Field

from llmemb_bench.base.memory import require
from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import Dataset, DatasetConfig
from llmemb_bench.registry.config import Seed

TOPICS = {
    "coffee": ("espresso maker", "coffee grinder", "cafetiere", "moka pot", "latte mug", "roasted beans"),
    "tea": ("teapot", "matcha bowl", "infuser", "oolong tin", "chai blend", "kettle"),
    "baking": ("cake tin", "rolling pin", "bread proofer", "whisk", "pastry bag", "muffin tray"),
    "camping": ("tent", "sleeping bag", "camp stove", "lantern", "hammock", "trail backpack"),
    "fishing": ("fishing rod", "tackle box", "reel", "lure set", "waders", "landing net"),
    "cycling": ("bike helmet", "pedal set", "handlebar tape", "cycling jersey", "tyre pump", "saddle"),
    "running": (
        "running shoes",
        "jogging shorts",
        "sweatband",
        "pace watch",
        "hydration vest",
        "sprint spikes",
    ),
    "yoga": ("yoga mat", "meditation cushion", "stretch strap", "pilates ring", "foam block", "leggings"),
    "gardening": ("trowel", "seed packet", "watering can", "pruning shears", "planter", "compost bin"),
    "astronomy": ("telescope", "star chart", "lunar filter", "eyepiece", "planetarium lamp", "orbit poster"),
    "painting": ("acrylic paint", "easel", "canvas", "watercolour set", "palette knife", "sable brush"),
    "music": ("guitar", "violin bow", "drum sticks", "piano stool", "metronome", "trumpet mute"),
    "photography": ("camera", "tripod", "lens cap", "flash unit", "darkroom tray", "photo album"),
    "gaming": ("game controller", "joystick", "gaming headset", "console stand", "arcade stick", "keyboard"),
    "chess": (
        "chess board",
        "chess clock",
        "rook and pawn set",
        "opening book",
        "score pad",
        "backgammon case",
    ),
    "infants": ("baby bottle", "pacifier", "crib sheet", "pram", "teething toy", "nappy bag"),
    "dogs": ("dog leash", "puppy bed", "chew bone", "kennel", "dog bowl", "flea comb"),
    "cats": ("cat tree", "scratching post", "litter tray", "catnip mouse", "kitten flap", "feline brush"),
    "skincare": ("moisturiser", "face serum", "cleansing balm", "sunscreen", "toner", "lip balm"),
    "perfume": ("eau de parfum", "cologne", "scented candle", "fragrance oil", "incense", "room spray"),
}
"""Twenty topics, each with six things that share no word: only their meaning tells that they belong together."""

STYLES = {
    "luxury": ("premium", "exclusive", "deluxe", "gold-plated"),
    "budget": ("cheap", "affordable", "basic", "discount"),
    "vintage": ("antique", "retro", "old-fashioned", "classic"),
    "travel": ("portable", "foldable", "pocket-sized", "lightweight"),
}
"""Four styles that cross every topic, each in four words."""

MAKERS = ("Aldor", "Brimsey", "Corvane", "Dunmore", "Estrel", "Farrow", "Gildane", "Hartwin")
COLOURS = ("red", "blue", "green", "black", "white", "yellow")


class SyntheticConfig(DatasetConfig):
    """Settings of `synthetic`; all numbers are ours."""

    users: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    """Users; each has at least five events. They are drawn one by one: more than a million would take hours."""
    catalogue: Annotated[int, Field(ge=80, le=1_000_000)] = 2400
    """Items; some may never occur."""
    mean_length: Annotated[float, Field(ge=5, le=10_000)] = 9.0
    """Mean number of events per user."""
    signal: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Probability that an event follows the user's taste, which the texts carry; the others follow popularity."""
    zipf: Annotated[float, Field(ge=0, le=50)] = 1.0
    """Exponent of item popularity: weight of the item at rank r is r^-zipf."""
    seed: Seed = 7
    """Seed of the whole world."""
    instruction: str = "The item has the following attributes: "
    """The line that every prompt starts with."""


@dataclass(frozen=True)
class World:
    """The drawn catalogue: a taste is a (topic, style) pair."""

    taste: NDArray[np.int64]
    """Taste of each item."""
    weight: NDArray[np.float64]
    """Popularity of each item, independent of its taste."""


class Synthetic(Dataset):
    """Synthetic, for demonstration and tests: never cite a number measured on it as evidence for a method.

    Each user has two tastes. An event keeps the taste of the one before it with probability 0.8 and else moves
    to the other one; within a taste an item is drawn by the square root of its popularity, never one seen before.
    """

    config: SyntheticConfig

    def files(self) -> Sequence[Path]:
        return []

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        n_users, catalogue = self.config.users, self.config.catalogue
        require(48 * n_users * self.config.mean_length, f"the events of {n_users:,} users", "dataset.users")
        require(1_000 * catalogue, f"the texts of {catalogue:,} items", "dataset.catalogue")
        users, items = _events(self.config)
        drawn = {"user": users, "item": items}  # noqa: F841  # read by the query
        db.execute("create table drawn_event as select * from drawn")
        return db.table("drawn_event")

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        described = {name: np.array(values, dtype=object) for name, values in _texts(self.config).items()}  # noqa: F841
        db.execute("create table drawn_item as select * from described")
        return db.table("drawn_item")

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        return {"users": 60, "catalogue": 80, "mean_length": 6.0}


def _world(config: SyntheticConfig) -> World:
    rng = generator(config.seed, "synthetic catalogue")
    n_tastes = len(TOPICS) * len(STYLES)
    taste = rng.permutation(np.arange(config.catalogue) % n_tastes)
    weight = rng.permutation(np.arange(1, config.catalogue + 1)) ** -config.zipf
    return World(taste, weight)


def _events(config: SyntheticConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """User and item of every event, users after one another."""
    world, rng = _world(config), generator(config.seed, "synthetic events")
    members = [np.flatnonzero(world.taste == taste) for taste in range(len(TOPICS) * len(STYLES))]
    lengths = 5 + rng.poisson(config.mean_length - 5, size=config.users)
    items = [_history(int(length), world, members, config.signal, rng) for length in lengths]
    return np.repeat(np.arange(config.users), [len(history) for history in items]), np.concatenate(items)


def _history(
    length: int, world: World, members: list[NDArray[np.int64]], signal: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Distinct items of one user; shorter where the tastes hold too few."""
    tastes, current = rng.choice(len(members), size=2, replace=False), 0
    weight = world.weight.copy()
    history: list[int] = []
    for _ in range(length):
        current = current if rng.random() < 0.8 else 1 - current
        by_taste = rng.random() < signal
        pool = members[tastes[current]] if by_taste else np.arange(len(weight))
        chances = np.sqrt(weight[pool]) if by_taste else weight[pool]
        if chances.sum() == 0:
            continue
        item = int(pool[np.searchsorted(chances.cumsum(), rng.random() * chances.sum(), side="right")])
        weight[item] = 0
        history.append(item)
    return np.array(history, dtype=np.int64)


def _texts(config: SyntheticConfig) -> dict[str, list[Any]]:
    """Columns of the items relation; `maker` and `colour` say nothing about taste."""
    world, rng = _world(config), generator(config.seed, "synthetic texts")
    topics, styles = list(TOPICS.values()), list(STYLES.values())
    rows: dict[str, list[Any]] = {name: [] for name in ("item", "title", "style", "maker", "colour")}
    for item, taste in enumerate(world.taste.tolist()):
        words = styles[taste % len(styles)]
        first, second = rng.choice(len(words), size=2, replace=False)
        rows["item"].append(item)
        rows["title"].append(f"{words[first]} {rng.choice(topics[taste // len(styles)])}")
        rows["style"].append(words[second])
        rows["maker"].append(str(rng.choice(MAKERS)))
        rows["colour"].append(str(rng.choice(COLOURS)))
    return rows
