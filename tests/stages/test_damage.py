"""Forty damaged results folders: each is said in one line that names what is damaged, and a second run mends it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from llmemb_bench.report.rows import as_json, read_rows
from tests.helpers.small_world import bytes_of, make_world

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
STUDENT, TEACHER = f"{CACHE}/recommender/student", f"{CACHE}/recommender/teacher"
OF_STUDENT = "of the student"
"""Its recommender and the run: else nobody asks for the teacher."""
CASES: list[tuple[str, Damage, str]] = [
    (f"{CACHE}/fingerprint/*/sha256", cut, ""),
    (f"{CACHE}/fingerprint/*/sha256", flip(3), ""),
    (f"{CACHE}/data/*/items.npy", flip(-1), RUN),
    (f"{CACHE}/data/*/offsets.npy", cut, RUN),
    (f"{CACHE}/data/*/times.npy", delete, RUN),
    (f"{CACHE}/data/*/texts.utf8.npy", flip(-2), RUN),
    (f"{CACHE}/data/*/users.ends.npy", folder, RUN),
    (f"{CACHE}/data/*/meta.json", empty, RUN),
    (f"{CACHE}/data/*/seal.json", cut, RUN),
    (f"{CACHE}/data/*", text, RUN),
    (f"{CACHE}/facts/*/facts.json", cut, RUN),
    (f"{CACHE}/facts/*/facts.json", flip(40), RUN),
    (f"{CACHE}/adapter/*/adapter_model.safetensors", flip(-9), RUN),
    (f"{CACHE}/adapter/*/adapter_config.json", delete, RUN),
    (f"{CACHE}/adapter/*/scft.jsonl", cut, RUN),
    (f"{CACHE}/vectors/*/vectors.safetensors", flip(-1), RUN),
    (f"{CACHE}/vectors/*/vectors.safetensors", zeros, RUN),
    (f"{CACHE}/vectors/*/made.json", folder, RUN),
    (f"{CACHE}/vectors/*/seal.json", delete, RUN),
    (f"{CACHE}/vectors", text, RUN),
    (f"{STUDENT}/weights.safetensors", flip(-1), RUN),
    (f"{TEACHER}/weights.safetensors", flip(-1), OF_STUDENT),
    (f"{STUDENT}/weights.safetensors", longer, RUN),
    (f"{STUDENT}/training.json", empty, RUN),
    (f"{TEACHER}/training.json", empty, OF_STUDENT),
    (f"{STUDENT}/events.jsonl", dangling, RUN),
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


def recommender(results: Path, *, has_teacher: bool) -> str:
    """The folder of the one that was aligned with a teacher, or of the teacher."""
    records = {
        path.parent.name: json.loads(path.read_text()) for path in results.glob(f"{CACHE}/recommender/*/training.json")
    }
    [name] = [name for name, record in records.items() if (record["teacher"] is not None) == has_teacher]
    return name


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
    where = where.replace("recommender/student", f"recommender/{recommender(results, has_teacher=True)}")
    where = where.replace("recommender/teacher", f"recommender/{recommender(results, has_teacher=False)}")
    if gone == OF_STUDENT:
        delete(results / CACHE / "recommender" / recommender(results, has_teacher=True))
    for path in results.glob(RUN if gone == OF_STUDENT else gone) if gone else ():
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
