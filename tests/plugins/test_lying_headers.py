"""Files of vectors whose header promises what is not there: one line, and nothing allocated."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import duckdb
import numpy as np
import pytest

from llmemb_bench.base.errors import DataError
from llmemb_bench.registry.entries import find
from llmemb_bench.text.files import read_vectors
from llmemb_bench.values.recdata import Items

ITEMS = Items.of(["a", "b"], [(("title", "x"),), (("title", "y"),)])


def npy(shape: str, kind: str = "'<f4'") -> bytes:
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(11 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 64


def tensors(kind: str, shape: str, end: int, body: int = 0) -> bytes:
    header = f'{{"v":{{"dtype":"{kind}","shape":{shape},"data_offsets":[0,{end}]}}}}'.encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * body


def parquet(query: str) -> bytes:
    path = Path("made.parquet")
    duckdb.sql(f"copy ({query}) to '{path}' (format parquet)")
    return path.read_bytes()


FILES = {
    "npy of 10^12 rows": ("npy", lambda: npy("(1000000000000, 8)"), "cannot be read"),
    "npy of 10^12 columns": ("npy", lambda: npy("(2, 1000000000000)"), "cannot be read"),
    "npy beyond 64 bits": ("npy", lambda: npy("(4611686018427387904, 4)"), "cannot be read"),
    "npy of a number beyond 64 bits": ("npy", lambda: npy(f"({'9' * 30}, 2)"), "cannot be read"),
    "npy of less than nothing": ("npy", lambda: npy("(2, -1)"), "cannot be read"),
    "npy of no width": ("npy", lambda: npy("(2, 0)"), "holds vectors of no numbers"),
    "npy of many rows of no width": ("npy", lambda: npy("(1000000000000, 0)"), "has shape [1000000000000, 0]"),
    "npy of one axis": ("npy", lambda: npy("(2,)"), "has shape [2], but ids.txt has 2 ids"),
    "npy of objects": ("npy", lambda: npy("(2, 2)", "'|O'"), "cannot be read"),
    "npy of complex numbers": ("npy", lambda: npy("(2, 2)", "'<c8'"), "holds complex64, should hold numbers"),
    "npy of words": ("npy", lambda: npy("(2, 2)", "'<U4'"), "should hold numbers"),
    "npy with parentheses": ("npy", lambda: npy("(" * 200 + ")" * 200), "cannot be read"),
    "npy with a header of gigabytes": (
        "npy",
        lambda: b"\x93NUMPY\x02\x00" + b"\xff" * 4 + b"{",
        "has a header longer than the file",
    ),
    "npy of nothing": ("npy", lambda: b"", "cannot be read"),
    "safetensors of 10^12 rows": ("safetensors", lambda: tensors("F32", "[1000000000000,8]", 32 * 10**12), "cannot be"),
    "safetensors of no width": ("safetensors", lambda: tensors("F32", "[2,0]", 0), "holds vectors of no numbers"),
    "safetensors of many rows of no width": ("safetensors", lambda: tensors("F32", "[999999999,0]", 0), "has shape"),
    "safetensors beyond 64 bits": ("safetensors", lambda: tensors("F32", f"[{2**62},8]", 0), "cannot be read"),
    "safetensors of truths": ("safetensors", lambda: tensors("BOOL", "[2,2]", 4, 4), "holds torch.bool"),
    "safetensors of complex numbers": ("safetensors", lambda: tensors("C64", "[2,2]", 32, 32), "holds torch.complex64"),
    "safetensors with a header of exabytes": ("safetensors", lambda: struct.pack("<Q", 2**62), "cannot be read"),
    "parquet of no width": (
        "parquet",
        lambda: parquet("select unnest(['a', 'b']) item, []::float[] vector"),
        "no numb",
    ),
    "parquet of nulls": ("parquet", lambda: parquet("select 'a' item, null::float[] vector"), "lacks the vectors of 1"),
    "parquet of two widths": (
        "parquet",
        lambda: parquet("select 'a' item, [1.0] vector union all select 'b', [1.0, 2.0]"),
        "has vectors of 1 and of 2 numbers",
    ),
    "parquet of no rows": ("parquet", lambda: parquet("select 'a' item, [1.0] vector where false"), "holds no vectors"),
    "parquet cut off": ("parquet", lambda: parquet("select 'a' item, [1.0] vector")[:-9], "cannot be read"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_header_that_lies_is_one_line_and_no_allocation(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suffix, make, message = FILES[name]
    (tmp_path / f"v.{suffix}").write_bytes(make())
    (tmp_path / "ids.txt").write_text("a\nb\n")
    plugin = find("encoders", "precomputed").load()
    ids = None if suffix == "parquet" else str(tmp_path / "ids.txt")
    config = plugin.config_type().model_validate({"vectors": str(tmp_path / f"v.{suffix}"), "ids": ids})
    tracemalloc.start()
    with pytest.raises(DataError) as raised:
        plugin(config).encode(ITEMS)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50_000_000
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / f"v.{suffix}"))


def test_vectors_that_memory_does_not_hold_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.parquet").write_bytes(parquet("select 'a' || range item, [1.0, 2.0] vector from range(1000)"))
    monkeypatch.setattr("llmemb_bench.base.memory.memory", lambda: 100_000)
    with pytest.raises(DataError, match="1,000 vectors of 2 numbers would take 124 kB of memory; this machine has 100"):
        read_vectors(tmp_path / "v.parquet")
    monkeypatch.undo()
    ids, vectors = read_vectors(tmp_path / "v.parquet")
    assert (ids[:2], vectors.shape, vectors.dtype) == (["a0", "a1"], (1000, 2), np.float32)
