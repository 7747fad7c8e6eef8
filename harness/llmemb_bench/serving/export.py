"""A finished run for use elsewhere: item vectors, user states and lists of the best items, whole or absent.

score(user, item) = state of the user · vector of the item. Users come in blocks, in the order of the data; no
users x items matrix.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch
from numpy.typing import NDArray

from llmemb_bench.base.errors import MissingError, SpecError
from llmemb_bench.base.folders import new_folder
from llmemb_bench.base.parquet import ParquetRows, parquet
from llmemb_bench.base.progress import track
from llmemb_bench.contracts import VectorMethod
from llmemb_bench.evaluation.buckets import head_items, item_counts
from llmemb_bench.registry.resolve import resolve
from llmemb_bench.runs.files import write_json
from llmemb_bench.runs.schema import MANIFEST
from llmemb_bench.serving.files import TensorRows
from llmemb_bench.serving.load import LoadedRun
from llmemb_bench.serving.scoring import Histories, best_of, scores_at_once, states_of
from llmemb_bench.text.manifest import versions

EXPORT = 1
"""Schema version of an export."""
KIND = "llmemb-bench export"
ITEMS_PER_BLOCK = 20_000

FILES = {
    "items.parquet": "one row per item: item, text, training_events, bucket (head or tail)",
    "items.safetensors": "float32 matrix `vectors`, row r is row r of items.parquet",
    "users.parquet": "one row per user: user, events, and vector, the state after all events of the user",
    "users.safetensors": "float32 matrix `vectors`, row r is row r of users.parquet",
    "top_k.parquet": "the best items of every user: user, rank (from 1), item, score; equal scores: the item that "
    "comes first in items.parquet",
}
OF_VECTORS = ("items.safetensors", "users.parquet", "users.safetensors")
"""Files that only a method with vectors gives."""
USE = "scores = users.vectors @ items.vectors.T, the higher the better; compare in float64 to get top_k's order"


@dataclass(frozen=True)
class Exported:
    """What was written."""

    users: int
    items: int
    dim: int | None
    """None: the method has no vectors."""


def refuse_occupied(output: Path) -> None:
    """Before any work: a file, or a folder that holds anything but an older export, is a SpecError."""
    fix = "name a new folder"
    if output.exists() and not output.is_dir():
        raise SpecError(f"'{output}' is a file", where="--output", fix=fix)
    inside = {path.name for path in output.iterdir()} if output.is_dir() else set()
    if inside and (inside - {*FILES, MANIFEST} or not _is_export(output / MANIFEST)):
        raise SpecError(f"'{output}' holds files that are not an export", where="--output", fix=fix)


def _is_export(manifest: Path) -> bool:
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("kind") == KIND


def export(run: LoadedRun, output: Path, count: int) -> Exported:
    """Write the folder; an older export in its place is replaced when the new one is whole; a MissingError where
    it cannot be written."""
    with torch.no_grad():
        run.method.begin_ranking()
        vectors = _item_vectors(run)
    data = run.split.data
    written = Exported(data.n_users, data.n_items, None if vectors is None else vectors.shape[1])

    try:
        with new_folder(output.resolve(), lambda: False) as folder:
            if folder is not None:
                _write_items(run, folder, vectors)
                _write_users(run, folder, written.dim, count)
                write_json(folder / MANIFEST, _manifest(run, written, count))
                folder.chmod(0o755)  # it is for others to read
    except (OSError, duckdb.Error) as error:
        finding = f"cannot be written: {str(error).splitlines()[0]}"
        raise MissingError(finding, where=str(output), fix="is there room on the disk?") from error
    return written


def _item_vectors(run: LoadedRun) -> NDArray[np.float32] | None:
    """[items, dim]; None where a score is not the product of a state and a vector."""
    if not isinstance(run.method, VectorMethod):
        return None
    vectors = run.method.candidates()
    _, histories = next(_blocks(run))
    states = states_of(run.method, histories)
    product = states.double() @ vectors.double().T
    scores = run.method.scores(states, slice(1, run.split.data.n_items + 1)).double()
    if not torch.allclose(product, scores, rtol=1e-4, atol=1e-5):
        return None
    return vectors.float().cpu().numpy()


def _blocks(run: LoadedRun) -> Iterator[tuple[slice, Histories]]:
    """Whole histories, user by user."""
    data = run.split.data
    size = scores_at_once(data.n_items)
    for start in range(0, data.n_users, size):
        block = slice(start, min(start + size, data.n_users))
        yield block, Histories(data.items, data.offsets[:-1][block], data.lengths[block])


def _about(run: LoadedRun) -> dict[str, str]:
    """What each file says of its origin."""
    return {"made_by": KIND, "run": _name(run), "key": str(run.manifest["key"])}


def _name(run: LoadedRun) -> str:
    return f"{run.manifest['experiment']}/{run.folder.resolve().name}"


def _write_items(run: LoadedRun, folder: Path, vectors: NDArray[np.float32] | None) -> None:
    catalogue, popularity = run.split.data.catalogue, run.split.popularity[1:]
    bucket = np.where(
        head_items(item_counts(run.split, run.spec.evaluate), run.spec.evaluate)[1:], "head", "tail"
    ).astype(object)
    with parquet(folder / "items.parquet", _about(run)) as rows:
        for start in range(0, len(catalogue), ITEMS_PER_BLOCK):
            block = slice(start, start + ITEMS_PER_BLOCK)
            texts = [catalogue.text(attributes) for attributes in catalogue.attributes[block]]
            columns = {
                "item": np.array(catalogue.ids[block], dtype=object),
                "text": np.array(texts, dtype=object),
                "training_events": popularity[block],
                "bucket": bucket[block],
            }
            rows.append(columns, None if vectors is None else {"vector": vectors[block]})
    if vectors is not None:
        tensor = TensorRows(folder / "items.safetensors", len(vectors), vectors.shape[1], _about(run))
        tensor.append(vectors)
        tensor.close()


def _write_users(run: LoadedRun, folder: Path, dim: int | None, count: int) -> None:
    """One pass over the users for their states and their best items."""
    data = run.split.data
    items = np.array(data.catalogue.ids[:], dtype=object)
    with ExitStack() as stack, track("export", data.n_users, "users") as work:
        top = stack.enter_context(parquet(folder / "top_k.parquet", _about(run)))
        if dim is not None:
            users = stack.enter_context(parquet(folder / "users.parquet", _about(run)))
            tensor = TensorRows(folder / "users.safetensors", data.n_users, dim, _about(run))
            stack.callback(tensor.close)
        for block, histories in _blocks(run):
            states, ids, scores = best_of(run.method, histories, data.n_items, count, mask=run.masks_history)
            names = np.array(data.user_ids[block], dtype=object)
            _append_top(top, names, items, ids.numpy(), scores.numpy())
            if dim is not None:
                users.append({"user": names, "events": histories.lengths}, {"vector": states.float().numpy()})
                tensor.append(states.float().numpy())
            work.advance(len(names))


def _append_top(
    rows: ParquetRows, users: NDArray[Any], items: NDArray[Any], ids: NDArray[np.int64], scores: NDArray[Any]
) -> None:
    user, place = (scores > -np.inf).nonzero()  # what is left out has minus infinity
    rows.append(
        {
            "user": users[user],
            "rank": (place + 1).astype(np.int32),
            "item": items[ids[user, place] - 1],
            "score": scores[user, place],
        }
    )


def _manifest(run: LoadedRun, written: Exported, count: int) -> dict[str, Any]:
    kept = ("experiment", "dataset", "encoder", "method", "backbone", "seed", "configuration", "data")
    has_vectors = written.dim is not None
    items = FILES["items.parquet"] + (", vector" if has_vectors else "")
    files = {
        name: what for name, what in (FILES | {"items.parquet": items}).items() if has_vectors or name not in OF_VECTORS
    }
    return {
        "kind": KIND,
        "schema": EXPORT,
        "run": _name(run),
        "key": run.manifest["key"],
        **{name: run.manifest[name] for name in kept if name in run.manifest},
        "spec": resolve(run.spec),
        "users": written.users,
        "items": written.items,
        "dim": written.dim,
        "k": count,
        "history": "left out of top_k" if run.masks_history else "may be in top_k",
        "max_len": run.method.max_len,
        "files": files,
        "use": USE if has_vectors else "top_k only: a score of this method is not a product of two vectors",
        "versions": versions(("llmemb-bench", "torch", "duckdb")),
    }
