"""Statistics that identify a version of a dataset, and what a split leaks from the future."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.contracts import Dataset
from llmemb_bench.values.padding import SeenItems
from llmemb_bench.values.recdata import RecData
from llmemb_bench.values.split import SHORTEST, TICKS, Split

Facts = dict[str, int | float | str | None]
"""Name to value; None where the data cannot say (no times, nobody evaluated)."""

MEANINGS = {
    "events_of_top_20_percent_items": "share of all events on the most popular fifth of the items",
    "users_below_three_events": "never evaluated: a target, a validation event and a history take three",
    "users_with_one_training_event": "nothing is learnt from them: a single event predicts nothing",
    "repeated_events": "events of a user with an item that the user had before",
    "duplicate_events": "same user, item and time",
    "events_at_equal_times": "whose order within a user is only that of the file",
    "twin_users": "users whose whole history another user has too",
    "cold_targets": "test targets that are in no training event: vectors learnt from ids alone cannot know them",
    "targets_in_history": "test targets that the user had before: a ranking without seen items keeps them",
    "targets_before_others_training": "test targets older than a training event of another user",
    "training_events_after_a_target": "share of the training events that are later than a test target, averaged over "
    "targets: how much the model has seen of each target's future; 0 with split: {by: time}",
    "events_after_the_target": "events of test users after their target, which are never used",
}
"""What a statistic counts, where its name does not say so."""

HEAD_SHARE = 0.2
TAIL_EVENTS = 5


def describe(split: Split) -> dict[str, Facts]:
    """Sections of statistics by name: size, lengths, popularity, text, time, and the leak report of the split."""
    data = split.data
    return {
        "size": _size(data),
        "lengths": _quantiles("user", data.lengths),
        "popularity": _popularity(data),
        "text": _text(data),
        "time": _time(data),
        "preparation": {**data.tally, "times": data.clock},
        "leaks": leaks(split),
    }


def _size(data: RecData) -> Facts:
    n_events = len(data.items)
    return {
        "users": data.n_users,
        "items": data.n_items,
        "events": n_events,
        "events_a_user": n_events / data.n_users,
        "events_an_item": n_events / data.n_items,
        "density": n_events / data.n_users / data.n_items,
    }


def _quantiles(name: str, counts: NDArray[np.int64]) -> Facts:
    values = np.quantile(counts, [0, 0.25, 0.5, 0.75, 0.95, 1])
    return {
        f"{name}_{label}": float(value)
        for label, value in zip(("min", "p25", "median", "p75", "p95", "max"), values, strict=True)
    }


def _popularity(data: RecData) -> Facts:
    counts = np.bincount(data.items, minlength=data.n_items + 1)[1:]
    head = np.sort(counts)[::-1][: int(np.ceil(HEAD_SHARE * len(counts)))]
    return _quantiles("item", counts) | {
        "events_of_top_20_percent_items": float(head.sum() / counts.sum()),
        "items_with_at_most_5_events": int((counts <= TAIL_EVENTS).sum()),
    }


def _text(data: RecData) -> Facts:
    table = data.catalogue.attributes
    filled = table.filled()
    coverage = zip(table.names, filled.sum(axis=0), strict=True)
    found: Facts = {"items_with_text": int(filled.any(axis=1).sum())}
    return found | {f"items_with_{name}": int(count) for name, count in coverage}


def _time(data: RecData) -> Facts:
    if data.time_unit == "order":
        return {"first_day": None, "last_day": None}
    ticks = TICKS[data.time_unit]
    first, last = (
        datetime.fromtimestamp(int(moment) // ticks, tz=UTC).date() for moment in (data.times.min(), data.times.max())
    )
    return {"first_day": first.isoformat(), "last_day": last.isoformat()}


def leaks(split: Split) -> Facts:
    """What a reader must know before trusting a number measured on this split."""
    data = split.data
    seen = SeenItems(_owners(data), data.items, data.n_items)
    long = split.lengths >= SHORTEST
    test = split.users("test")
    return {
        "users_below_three_events": int((~long).sum()),
        "users_with_one_training_event": int((long & (split.n_train == 1)).sum()),
        "repeated_events": len(data.items) - int(seen.per_user(data.n_users).sum()),
        **_simultaneous(data),
        "twin_users": twin_users(data),
        "targets": len(test),
        "cold_targets": int((split.popularity[split.targets("test")] == 0).sum()),
        "targets_in_history": int(_in_history(split).sum()),
        **_precedence(split),
        "events_after_the_target": int((split.lengths[test] - split.input_lengths("test") - 1).sum()),
    }


def _owners(data: RecData) -> NDArray[np.int64]:
    return np.repeat(np.arange(data.n_users), data.lengths)


def _simultaneous(data: RecData) -> Facts:
    """Events of one user at one time, whose order is only that of the file, and exact duplicates."""
    if data.time_unit == "order":
        return {"duplicate_events": None, "events_at_equal_times": None, "users_with_equal_times": None}
    owners = _owners(data)
    order = np.lexsort((data.items, data.times, owners))
    owner, time, item = owners[order], data.times[order], data.items[order]
    same_time = (owner[1:] == owner[:-1]) & (time[1:] == time[:-1])
    return {
        "duplicate_events": int((same_time & (item[1:] == item[:-1])).sum()),
        "events_at_equal_times": int((np.append(same_time, False) | np.append(False, same_time)).sum()),
        "users_with_equal_times": len(np.unique(owner[1:][same_time])),
    }


def twin_users(data: RecData) -> int:
    """Users of three events or more whose whole history another user has too (compared by a 64-bit hash)."""
    if len(data.items) == 0:
        return 0
    positions = np.arange(len(data.items)) - np.repeat(data.offsets[:-1], data.lengths)
    mixed = _mixed(data.items.astype(np.uint64) + (_mixed(positions.astype(np.uint64)) << np.uint64(1)))
    hashes = np.add.reduceat(mixed, data.offsets[:-1])[data.lengths >= SHORTEST]
    _, counts = np.unique(hashes, return_counts=True)
    return int(counts[counts > 1].sum())


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Bits spread so that sums of different sequences do not meet by accident (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _in_history(split: Split) -> NDArray[np.bool_]:
    """[test users] whether the target is among the inputs."""
    data, users = split.data, split.users("test")
    n_inputs = np.zeros(data.n_users, dtype=np.int64)
    n_inputs[users] = split.input_lengths("test")
    inputs = split.positions < np.repeat(n_inputs, split.lengths)
    if not inputs.any():
        return np.zeros(len(users), dtype=bool)
    return SeenItems(_owners(data)[inputs], data.items[inputs], data.n_items).holds(users, split.targets("test"))


def _precedence(split: Split) -> Facts:
    """Test targets that happened before training events of other users: the model has seen their future."""
    data, users = split.data, split.users("test")
    if data.time_unit == "order" or len(users) == 0:
        return {"targets_before_others_training": None, "training_events_after_a_target": None}
    moments = data.times[split.target_indices("test")]
    trained = np.flatnonzero(split.n_train)
    last = np.full(data.n_users, -1, dtype=np.int64)
    last[trained] = data.times[data.offsets[trained] + split.n_train[trained] - 1]
    latest, second = np.sort(last)[::-1][:2] if len(last) > 1 else (-1, -1)
    of_others = np.where(last[users] == latest, second, latest)
    times = np.sort(data.times[split.positions < np.repeat(split.n_train, split.lengths)])
    after = len(times) - np.searchsorted(times, moments, side="right")
    return {
        "targets_before_others_training": int((moments < of_others).sum()),
        "training_events_after_a_target": float(after.mean() / len(times)),
    }


def warnings(dataset: Dataset, data: RecData) -> list[str]:
    """What a report must say of the data."""
    leaking = sorted(dataset.popularity_attributes & set(data.catalogue.attributes.names))
    if not leaking:
        return [*data.warnings]
    said = f"the texts hold {', '.join(leaking)}: popularity over the whole period, test events included"
    return [*data.warnings, said]
