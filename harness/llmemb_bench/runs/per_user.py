"""What every user's target was ranked at in several runs, read back for paired comparisons.

Runs of one protocol over the same data list the same users in the same order, so that a place in an array is a user and
no rows are joined. A rank is held as a code of one or two bytes: 10 million users of a run take 20 MB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base import sql
from llmemb_bench.base.errors import DataError, SpecError
from llmemb_bench.contracts import Metric
from llmemb_bench.evaluation.expectation import mean_gain
from llmemb_bench.runs.schema import MANIFEST, PER_USER, manifest_of

MEMORY = "500MB"
"""Of DuckDB, beside the arrays."""
HEAD, TAIL_SEEN, TAIL_COLD = range(3)
BUCKETS: Mapping[str, tuple[int, ...]] = {
    "overall": (HEAD, TAIL_SEEN, TAIL_COLD),
    "head": (HEAD,),
    "tail": (TAIL_SEEN, TAIL_COLD),
    "tail seen": (TAIL_SEEN,),
    "tail cold": (TAIL_COLD,),
}
"""Name to the parts that a bucket is made of."""


@dataclass(frozen=True)
class PerUser:
    """The users of one protocol in several runs."""

    codes: Mapping[Path, NDArray[np.unsignedinteger]]
    """Run folder to the code of each user's rank."""
    n_greater: NDArray[np.int64]
    """[codes] items that score higher than the target, the largest cut-off standing for all above."""
    n_equal: NDArray[np.int64]
    """[codes] other items that score as high."""
    parts: NDArray[np.uint8]
    """[users] HEAD, TAIL_SEEN or TAIL_COLD."""

    def users(self, bucket: str) -> NDArray[np.bool_]:
        """[users] whether each is in a bucket."""
        return np.isin(self.parts, BUCKETS[bucket])

    def worth(self, metric: Metric, cutoff: int) -> NDArray[np.float32]:
        """[codes] the value of each code, so that `worth[codes[run]]` are a run's per-user values."""
        return mean_gain(metric, cutoff, self.n_greater, self.n_equal).astype(np.float32)


def read_per_user(runs: Sequence[Path], protocol: str, cutoff: int) -> PerUser:
    """The users of `protocol` in run folders, for metrics up to a cut-off.

    Raises SpecError where the runs' data or protocols differ, naming what; DataError where a file cannot be read, was
    written of other users, or does not tell which targets are head.
    """
    refuse_other_protocols(runs)
    with duckdb.connect(config={"memory_limit": MEMORY}) as db:
        order = _order(db, runs, protocol)
        ranks = {run: _ranks(db, run, protocol, cutoff, order) for run in runs}
        parts = _parts(db, runs[0], protocol, order)
    ties = [np.unique(equal, axis=0) for _, equal, _ in ranks.values()]
    tied = np.unique(np.concatenate(ties), axis=0)
    plain = np.arange(cutoff + 1)
    kind = np.min_scalar_type(cutoff + len(tied))
    return PerUser(
        {run: _codes(*found, tied, cutoff).astype(kind) for run, found in ranks.items()},
        np.concatenate([plain, tied[:, 0]]),
        np.concatenate([np.zeros_like(plain), tied[:, 1]]),
        parts,
    )


def read_names(runs: Sequence[Path], protocol: str) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """[users] ids and targets, in the order of `read_per_user` of the same runs."""
    with duckdb.connect(config={"memory_limit": MEMORY}) as db:
        order = _order(db, runs, protocol)
        query = f"""select "user", target from read_parquet({sql.literal(runs[0] / PER_USER)})
                    where protocol = $protocol {order}"""
        found = _query(db, runs[0], query, {"protocol": protocol})
    return found["user"].astype(object), found["target"].astype(object)


def refuse_other_protocols(runs: Sequence[Path]) -> None:
    """A SpecError for the first run whose data or protocol are not those of the first one, naming what differs."""
    first = manifest_of(runs[0])
    for run in runs[1:]:
        found = next(_different(first, manifest_of(run)), None)
        if found is not None:
            name, here, there = found
            raise SpecError(
                f"cannot be paired with {runs[0].name}: {name} is {here!r} here and {there!r} there",
                where=str(run),
                fix="compare runs of the same data and protocol",
            )


def _different(first: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name, value of the other and value of the first, of each setting that decides what a number means."""
    if other.get("protocol_hash") != first.get("protocol_hash"):
        ours, theirs = first.get("protocol") or {}, other.get("protocol") or {}
        names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        yield from ((f"the protocol's {name}", theirs.get(name), ours.get(name)) for name in names)
        yield "protocol_hash", other.get("protocol_hash"), first.get("protocol_hash")
    for name in ("dataset", "data"):
        if other.get(name) != first.get(name):
            yield name, other.get(name), first.get(name)


def _order(db: duckdb.DuckDBPyConnection, runs: Sequence[Path], protocol: str) -> str:
    """How to read the files so that all have their users in one order."""
    if len({_mark(db, run, protocol, '"user", target, file_row_number - first') for run in runs}) == 1:
        return ""
    marks = {run: _mark(db, run, protocol, '"user", target') for run in runs}
    for run, mark in marks.items():
        if mark != marks[runs[0]]:
            raise DataError(
                f"has other users or targets than {runs[0].name}", where=str(run / PER_USER), fix="run both again"
            )
    return 'order by "user"'


def _mark(db: duckdb.DuckDBPyConnection, run: Path, protocol: str, of: str) -> tuple[int, int]:
    """Number of users, and a hash of what is asked of all of them.

    Hashed twice, for DuckDB's hash of several columns is the last one's, xor something: over all rows that would not
    tell which belonged together.
    """
    source = f"read_parquet({sql.literal(run / PER_USER)}, file_row_number=true)"
    first = f"(select min(file_row_number) as first from {source} where protocol = $protocol)"
    query = f"""select count(*) as count, coalesce(bit_xor(hash(hash({of}))), 0) as mark
                from {source}, {first} where protocol = $protocol"""
    found = _query(db, run, query, {"protocol": protocol})
    if not found["count"][0]:
        raise DataError(f"has no users of the protocol {protocol}", where=str(run / PER_USER), fix="run its spec again")
    return int(found["count"][0]), int(found["mark"][0])


def _ranks(
    db: duckdb.DuckDBPyConnection, run: Path, protocol: str, cutoff: int, order: str
) -> tuple[NDArray[np.integer], NDArray[np.int64], NDArray[np.int64]]:
    """[users] items above, and of the targets within the cut-off that others equal: [ties, 2] both counts, and which
    users they are."""
    found = _query(
        db,
        run,
        f"""select least(n_greater, $cutoff)::usmallint as above,
                   case when n_greater < $cutoff then n_equal else 0 end::uinteger as same
            from read_parquet({sql.literal(run / PER_USER)}) where protocol = $protocol {order}""",
        {"protocol": protocol, "cutoff": cutoff},
    )
    tied = np.flatnonzero(found["same"])
    pairs = np.stack([found["above"][tied].astype(np.int64), found["same"][tied].astype(np.int64)], axis=1)
    return found["above"], pairs, tied


def _codes(
    above: NDArray[np.integer],
    pairs: NDArray[np.int64],
    users: NDArray[np.int64],
    tied: NDArray[np.int64],
    cutoff: int,
) -> NDArray[np.int64]:
    codes = above.astype(np.int64)
    if len(users):
        widest = int(tied[:, 1].max()) + 1
        keys = tied[:, 0] * widest + tied[:, 1]
        codes[users] = cutoff + 1 + np.searchsorted(keys, pairs[:, 0] * widest + pairs[:, 1])
    return codes


def _parts(db: duckdb.DuckDBPyConnection, run: Path, protocol: str, order: str) -> NDArray[np.uint8]:
    """[users] the part of each, by the target's popularity."""
    source = f"read_parquet({sql.literal(run / PER_USER)})"
    columns = [row[0] for row in db.execute(f"describe select * from {source}").fetchall()]
    head = "is_head" if "is_head" in columns else _head_by_count(run)
    query = f"""select (case when {head} then {HEAD} when train_popularity > 0 then {TAIL_SEEN} else {TAIL_COLD}
                        end)::utinyint as part from {source} where protocol = $protocol {order}"""
    parts: NDArray[np.uint8] = _query(db, run, query, {"protocol": protocol})["part"]
    return parts


def _head_by_count(run: Path) -> str:
    """The condition of a head target in a file from before `is_head` stood there."""
    manifest = manifest_of(run)
    facts = (manifest.get("dataset_facts") or {}).get("buckets") or {}
    least, tied = facts.get("head_items_events_at_least"), facts.get("tail_items_tied_with_head")
    counted = (manifest.get("protocol") or {}).get("popularity") == "training events"
    if not counted or tied or least is None:
        raise DataError(
            "does not say which targets are head items; an older version wrote it",
            where=str(run / PER_USER),
            fix=f"remove the folder of this {MANIFEST} and run its spec again",
        )
    return f"train_popularity >= {least}" if isinstance(least, int) else "false"


def _query(
    db: duckdb.DuckDBPyConnection, run: Path, query: str, values: Mapping[str, object]
) -> dict[str, NDArray[Any]]:
    try:
        return {name: np.asarray(column) for name, column in db.execute(query, dict(values)).fetchnumpy().items()}
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"cannot be read ({reason})", where=str(run / PER_USER), fix="run its spec again") from error
