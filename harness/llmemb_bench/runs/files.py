"""The files of a run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

if TYPE_CHECKING:  # a report reads the store without torch
    from llmemb_bench.evaluation.ranking import Ranks
    from llmemb_bench.values.split import Split


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Strict JSON: a NaN is an error, not a word that other readers refuse."""
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_yaml(path: Path, value: dict[str, Any]) -> None:
    """The spec with every default filled in."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(value, file)


def read_yaml(path: Path) -> dict[str, Any]:
    """What `write_yaml` wrote; empty where there is no such file, ValueError where it is something else."""
    if not path.is_file():
        return {}
    try:
        return dict(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    except (YAMLError, ValueError, TypeError) as error:
        raise ValueError(f"{path.name} is not what a run writes") from error


def write_per_user(path: Path, split: Split, ranks: dict[str, Ranks], head: NDArray[np.bool_]) -> None:
    """One row per user and protocol, so that new metrics, buckets and tests need no retraining; `head` says of each
    evaluated user whether the target is a head item."""
    data, targets = split.data, split.targets("test")
    users = np.array(data.user_ids[:], dtype=object)[split.users("test")]
    items = np.array(data.catalogue.ids[:], dtype=object)[targets - 1]
    with duckdb.connect() as db:
        for protocol, counted in ranks.items():
            rows = {  # noqa: F841  # DuckDB reads the name out of the query
                "protocol": np.full(len(users), protocol, dtype=object),
                "user": users,
                "target": items,
                "n_greater": counted.n_greater,
                "n_equal": counted.n_equal,
                "n_candidates": counted.n_candidates,
                "train_popularity": split.popularity[targets],
                "history_length": split.input_lengths("test"),
                "is_head": head,
            }
            first = protocol == next(iter(ranks))
            db.execute(f"{'create table per_user as' if first else 'insert into per_user'} select * from rows")
        db.execute(f"copy per_user to '{str(path).replace(chr(39), chr(39) * 2)}' (format parquet)")
