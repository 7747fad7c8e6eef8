"""Vectors made elsewhere, joined by item id: .npy + ids, .parquet or .safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file

from llmemb_bench.base.errors import BenchError, DataError, MissingError, SpecError, one_line
from llmemb_bench.contracts import ItemEncoder
from llmemb_bench.data.raw import lines
from llmemb_bench.registry.config import Config, SpecPath
from llmemb_bench.text.files import read_vectors
from llmemb_bench.values.recdata import Items


class PrecomputedConfig(Config):
    """Settings of `precomputed`."""

    vectors: SpecPath
    """`.parquet` with columns `item` and `vector`; or `.npy` [items, dim]; or `.safetensors` with one such tensor."""
    ids: SpecPath | None = None
    """For .npy and .safetensors: a text file with one item id per line, in the order of the rows."""
    extra: Literal["refuse", "ignore"] = "refuse"
    """Vectors of items outside the catalogue: an error, or not used."""


class Precomputed(ItemEncoder):
    """Never joined by row: an item without a vector, a doubled id or a number that is not finite is an error."""

    config: PrecomputedConfig
    needs_text = False

    def __init__(self, config: PrecomputedConfig) -> None:
        self.config = config

    def encode(self, items: Items) -> Float[np.ndarray, "items text_dim"]:
        path = self.config.vectors.resolve()
        ids, vectors = _read(path, self.config.ids.resolve() if self.config.ids else None)
        row_of = {item: row for row, item in enumerate(ids)}
        _refuse(path, ids, vectors, row_of, items)
        extra = sorted(row_of.keys() - set(items.ids))
        if extra and self.config.extra == "refuse":
            raise DataError(
                f"{len(extra)} of {len(ids)} vectors are of items outside the catalogue, the first is '{extra[0]}'",
                where=str(path),
                fix="are they of these data? if so, set embeddings.encoder.extra: ignore",
            )
        return vectors[[row_of[item] for item in items.ids]].astype(np.float32)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        names = [f"item{number}" for number in range(1, 41)]
        np.save(folder / "vectors.npy", np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32))
        (folder / "ids.txt").write_text("\n".join(names) + "\n")
        return {"vectors": str(folder / "vectors.npy"), "ids": str(folder / "ids.txt")}


def _read(path: Path, ids: Path | None) -> tuple[list[str], Float[np.ndarray, "rows text_dim"]]:
    for file in (path, ids):
        if file is not None and not file.is_file():
            raise MissingError(f"no file {file}", where="embeddings.encoder", fix="check 'vectors' and 'ids'")
    try:
        if path.suffix.lower() == ".parquet":
            return read_vectors(path)
        vectors = _read_array(path)
        names = _names(ids) if ids else []
    except BenchError:
        raise
    except Exception as error:  # a header that lies is found out in many ways
        raise DataError(f"cannot be read: {one_line(error)}", where=str(path), fix="is the file whole?") from error
    if ids is None:
        raise SpecError(f"{path.name} carries no item ids", where="embeddings.encoder", fix="ids: IDS.txt")
    if vectors.dtype.kind not in "fiu":
        raise DataError(f"holds {vectors.dtype}, should hold numbers", where=str(path))
    if vectors.ndim != 2 or len(names) != len(vectors):
        raise DataError(f"has shape {list(vectors.shape)}, but {ids.name} has {len(names)} ids", where=str(path))
    if vectors.shape[1] == 0:
        raise DataError("holds vectors of no numbers", where=str(path))
    return names, vectors


def _names(ids: Path) -> list[str]:
    """One id a line; a byte-order mark and blank lines at the end are none."""
    names = [line.rstrip("\n") for _, line in lines(ids)]
    while names and not names[-1].strip():
        names.pop()
    return names


def _read_array(path: Path) -> np.ndarray:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with path.open("rb") as file:  # version, then the header's length, which NumPy reads at once
            start = file.read(12)
        if start[6:7] > b"\x01" and int.from_bytes(start[8:], "little") > path.stat().st_size:
            raise DataError("has a header longer than the file", where=str(path), fix="is the file whole?")
        # As a map: NumPy allocates what the header claims before it reads, but maps no more than there is.
        with np.errstate(over="raise"):
            array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    if suffix == ".safetensors":
        tensors = load_file(path)
        if len(tensors) != 1:
            raise DataError(f"holds {len(tensors)} tensors, should hold one", where=str(path))
        tensor = next(iter(tensors.values()))
        if tensor.is_complex() or tensor.dtype == torch.bool:
            raise DataError(f"holds {tensor.dtype}, should hold numbers", where=str(path))
        floats: np.ndarray = tensor.float().numpy()
        return floats
    raise SpecError(f"'{path.suffix}' is not a known format", where=str(path), fix="use .npy, .parquet or .safetensors")


def _refuse(path: Path, ids: list[str], vectors: np.ndarray, row_of: dict[str, int], items: Items) -> None:
    if len(row_of) < len(ids):
        double = next(item for row, item in enumerate(ids) if row_of[item] != row)
        raise DataError(f"{len(ids) - len(row_of)} ids appear twice, the first is '{double}'", where=str(path))
    missing = [item for item in items.ids if item not in row_of]
    if missing:
        theirs, ours = (", ".join(f"'{name}'" for name in names[:3]) for names in (ids, missing))
        strangers = f"; no id is one of theirs: here {theirs}, in the data {ours}"
        raise DataError(
            f"{len(missing)} of {len(items)} items have no vector, the first is '{missing[0]}'"
            + (strangers if len(missing) == len(items) else ""),
            where=str(path),
            fix="make the vectors from the same catalogue; ids are the dataset's own",
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(f"{len(bad)} vectors hold NaN or infinity, the first is of '{ids[bad[0]]}'", where=str(path))
