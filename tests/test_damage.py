"""Forty damaged results folders: each is said in one line that names what is damaged, and a second run mends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from llmemb_bench.report.rows import as_json, read_rows
from small_world import bytes_of, make_world

pytestmark = pytest.mark.slow

Damage = Callable[[Path], object]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def folder(path: Path) -> None:
    delete(path)
    path.mkdir()
    (path / "other").write_text("other")


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"garbage")


def flip(place: int) -> Damage:
    """One bit of one byte."""

    def flip_there(path: Path) -> None:
        held = bytearray(path.read_bytes())
        held[place] ^= 4
        path.write_bytes(held)

    return flip_there


def zeros(path: Path) -> None:
    """What a power cut leaves: the right length, nothing written."""
    path.write_bytes(bytes(path.stat().st_size))


def text(path: Path) -> None:
    delete(path)
    path.write_text("a text file\n" * 500)


def loop(path: Path) -> None:
    delete(path)
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    delete(path)
    path.symlink_to("nowhere")


def sql(query: str) -> Damage:
    def change(path: Path) -> None:
        with duckdb.connect(str(path)) as db:
            db.execute(query)

    return change


CACHE, RUN, STORE = ".cache", "runs/tiny/llmemb-*", "llmemb.duckdb"
BEST = f"{CACHE}/recommender/*"
"""Student or teacher, whichever comes first: with the other one and the run gone, both are read."""
CASES: list[tuple[str, Damage, str]] = [
    (f"{CACHE}/fingerprint/*/sha256", cut, ""),
    (f"{CACHE}/fingerprint/*/sha256", flip(3), ""),
    (f"{CACHE}/data/*/items.npy", flip(-1), ""),
    (f"{CACHE}/data/*/offsets.npy", cut, ""),
    (f"{CACHE}/data/*/times.npy", delete, ""),
    (f"{CACHE}/data/*/texts.utf8.npy", flip(-2), ""),
    (f"{CACHE}/data/*/users.ends.npy", folder, ""),
    (f"{CACHE}/data/*/meta.json", empty, ""),
    (f"{CACHE}/data/*/seal.json", cut, ""),
    (f"{CACHE}/data/*", text, ""),
    (f"{CACHE}/facts/*/facts.json", cut, RUN),
    (f"{CACHE}/facts/*/facts.json", flip(40), RUN),
    (f"{CACHE}/adapter/*/adapter_model.safetensors", flip(-9), ""),
    (f"{CACHE}/adapter/*/adapter_config.json", delete, ""),
    (f"{CACHE}/adapter/*/scft.jsonl", cut, ""),
    (f"{CACHE}/vectors/*/vectors.safetensors", flip(-1), ""),
    (f"{CACHE}/vectors/*/vectors.safetensors", zeros, ""),
    (f"{CACHE}/vectors/*/made.json", folder, ""),
    (f"{CACHE}/vectors/*/seal.json", delete, ""),
    (f"{CACHE}/vectors", text, ""),
    (f"{BEST}/weights.safetensors", flip(-1), ""),
    (f"{BEST}/weights.safetensors", longer, ""),
    (f"{BEST}/training.json", empty, ""),
    (f"{BEST}/events.jsonl", dangling, ""),
    (f"{CACHE}/candidates/*/candidates.npy", flip(-1), RUN),
    (f"{CACHE}/candidates/*/candidates.npy", cut, RUN),
    (f"{RUN}/metrics.json", delete, ""),
    (f"{RUN}/metrics.json", flip(200), ""),
    (f"{RUN}/per_user.parquet", delete, ""),
    (f"{RUN}/per_user.parquet", flip(60), ""),
    (f"{RUN}/weights.safetensors", loop, ""),
    (f"{RUN}/manifest.json", cut, ""),
    (f"{RUN}/spec.resolved.yaml", empty, ""),
    (f"{RUN}/seal.json", text, ""),
    (RUN, text, ""),
    (STORE, flip(12288 + 300), ""),
    (STORE, cut, ""),
    (STORE, empty, ""),
    (STORE, text, ""),
    (STORE, folder, ""),
    (STORE, sql("drop table metrics"), ""),
    (STORE, sql("delete from metrics where rowid % 2 = 0"), ""),
    (STORE, sql("delete from runs"), ""),
]
"""What is damaged, how, and what has to be gone so that it is read at all."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Path]:
    """The spec, and the results of a run that nothing happened to."""
    spec = make_world(tmp_path_factory.mktemp("damage"))
    return spec, spec.parent / "whole"


@pytest.mark.parametrize(("where", "damage", "gone"), CASES)
def test_a_damaged_results_folder_is_named_and_mended(where, damage, gone, whole, cli, tmp_path):
    spec, undamaged = whole
    if not undamaged.exists():
        assert cli("run", spec, "--results", undamaged, "--progress", "none").code == 0
    results = tmp_path / "results"
    shutil.copytree(undamaged, results, symlinks=True)
    for path in results.glob(gone) if gone else ():
        delete(path)
    target = sorted(results.glob(where))[0]
    damage(target)
    ran = cli("run", spec, "--results", results, "--progress", "none")
    assert ran.code == 0, ran.err
    named = [line for line in ran.err.splitlines() if str(target.parent) in line and target.name in line]
    assert len(named) == 1, ran.err
    assert bytes_of(results) == bytes_of(undamaged)
    assert as_json(read_rows(results, [], [])) == as_json(read_rows(undamaged, [], []))
    assert cli("run", spec, "--results", results, "--progress", "none").err == ""
