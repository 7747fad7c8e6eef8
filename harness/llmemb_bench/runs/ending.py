"""How a training ended, if a reader should know: still improving, or cut off by a limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LAST = 0.1
"""A best epoch in this last share of the epochs says that more of them may be better."""


def endings(record: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """What to know of a training by its record and the settings `recommender.train`; empty settings: not known."""
    limit = _limit(record, settings)
    raised = f"raise recommender.train.{limit or ('patience' if settings else 'epochs')}"
    if record["best_epoch"] > (1 - LAST) * record["epochs"]:
        return [f"the best epoch is among the last tenth, so more training may be better: {raised}"]
    if limit:
        return [f"training was cut off before patience ran out: {raised}"]
    return []


def _limit(record: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The setting that ended training: `epochs` or `steps`; empty where patience did, or where nobody knows."""
    if not settings:
        return ""
    since_best = (record["epochs"] - record["best_epoch"]) / settings["validate_every"]
    if since_best >= settings["patience"]:
        return ""
    return next((name for name in ("steps", "epochs") if record[name] == settings[name]), "")
