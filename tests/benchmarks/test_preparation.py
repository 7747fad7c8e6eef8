"""What preparing Amazon files costs, against reading them and against scripts: `tox -e bench`.

Every side runs in a process of its own. The raw files are generated: 2 million reviews take two minutes, and
LLMEMB_BENCH_RAW=FOLDER keeps them for the next time; the 20 million (ten minutes) are only made there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from llmemb_bench.data.prepare import load
from tests import ROOT
from tests.helpers.raw_amazon import CATEGORY, write

CORE3 = {"min_user_events": 3, "min_item_events": 3, "min_history": 3}
ENOUGH_CORES = 2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc: Linux"),
]


def generated(folder: Path, reviews: int, level: int) -> Path:
    """Raw files of this size, made once; a tenth as many products."""
    place = folder / f"amazon-{reviews}"
    if not (place / f"meta_{CATEGORY}.json.gz").exists():
        write(folder / f"part-{place.name}", reviews, reviews // 10, level=level).rename(place)
    return place


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    return Path(os.environ.get("LLMEMB_BENCH_RAW") or tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def raw(kept) -> Path:
    return generated(kept, 2_000_000, level=6)


def python(script: str, *given: str) -> str:
    command = [sys.executable, "-m", f"tests.benchmarks.{script}", *given]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def prepared(name: str, given: dict[str, object], folder: Path) -> dict[str, float]:
    """Cost and counts of preparing into `folder`."""
    folder.mkdir()
    return json.loads(python("prepare_files", name, json.dumps(given | CORE3), str(folder)))


def amazon(raw: Path) -> dict[str, object]:
    return {"path": str(raw), "category": CATEGORY}


def seconds_to_gunzip(raw: Path) -> float:
    start = time.perf_counter()
    for path in sorted(raw.glob("*.gz")):
        subprocess.run(["gzip", "-dc", path], check=True, stdout=subprocess.DEVNULL)  # noqa: S607
    return time.perf_counter() - start


def say(benchmark, **figures: float) -> None:
    benchmark.extra_info.update(figures)
    print(f"\n{benchmark.name}: " + ", ".join(f"{name} {value:,.2f}" for name, value in figures.items()))  # noqa: T201


def test_preparation_costs_little_more_than_reading_the_files(benchmark, raw, tmp_path):
    runs: list[dict[str, float]] = []
    benchmark.pedantic(lambda: runs.append(prepared("amazon_2018", amazon(raw), tmp_path / str(len(runs)))), rounds=3)
    gunzip = sorted(seconds_to_gunzip(raw) for _ in range(3))[1]
    ours = sorted(run["seconds"] for run in runs)[1]
    peak = max(run["megabytes"] for run in runs)
    say(benchmark, gunzip_s=gunzip, ours_s=ours, times_gunzip=ours / gunzip, megabytes=peak)
    assert ours < 1.6 * gunzip
    assert peak < 700


@pytest.mark.parametrize(("parser", "least"), [("json", 2.5), ("orjson", 1.0)])
def test_preparation_against_a_script(benchmark, parser, least, raw, tmp_path):
    if importlib.util.find_spec(parser) is None:
        pytest.skip(f"pip install {parser}")
    ours = benchmark.pedantic(lambda: prepared("amazon_2018", amazon(raw), tmp_path / "out"), rounds=1)
    theirs = float(python("plain_route", parser, str(raw)))
    say(benchmark, ours_s=ours["seconds"], script_s=theirs, times_faster=theirs / ours["seconds"])
    assert theirs > least * ours["seconds"]


def rewritten(raw: Path, folder: Path, compression: str, parts: int) -> Path:
    """The reviews again, in other files."""
    folder.mkdir()
    suffix = {"zstd": "zst", "gzip": "gz"}[compression]
    with duckdb.connect() as db:
        reviews = db.read_json(str(raw / f"{CATEGORY}.json.gz"), format="newline_delimited")
        size = -(-2_000_000 // parts)
        for part in range(parts):
            db.execute(
                f"copy (from reviews limit {size} offset {part * size}) "
                f"to '{folder}/part-{part}.jsonl.{suffix}' (format json, compression {compression})"
            )
        assert reviews.columns
    return folder / f"part-*.jsonl.{suffix}"


@pytest.mark.skipif((os.cpu_count() or 1) < ENOUGH_CORES, reason="one core")
@pytest.mark.parametrize(("compression", "parts"), [("gzip", 4), ("zstd", 1)])
def test_part_files_and_zstd_use_both_cores(benchmark, compression, parts, raw, tmp_path):
    columns = {"user": "reviewerID", "item": "asin", "time": "unixReviewTime"}
    one = {"events": str(raw / f"{CATEGORY}.jsonl.gz"), **columns}
    (raw / f"{CATEGORY}.jsonl.gz").unlink(missing_ok=True)
    (raw / f"{CATEGORY}.jsonl.gz").symlink_to(raw / f"{CATEGORY}.json.gz")
    given = {"events": str(rewritten(raw, tmp_path / "raw", compression, parts)), **columns}
    several = benchmark.pedantic(lambda: prepared("table", given, tmp_path / "several"), rounds=1)
    single = prepared("table", one, tmp_path / "single")
    faster = single["seconds"] / several["seconds"]
    say(
        benchmark, one_gzip_s=single["seconds"], these_s=several["seconds"], times_faster=faster, cores=several["cores"]
    )
    assert several["cores"] > 1.3
    assert faster > 1.2


@pytest.mark.skipif(
    "LLMEMB_BENCH_RAW" not in os.environ, reason="LLMEMB_BENCH_RAW=FOLDER keeps 5 GB of generated files"
)
def test_ten_times_the_lines_need_hardly_more_memory(benchmark, raw, kept, tmp_path):
    large = generated(kept, 20_000_000, level=1)
    small = prepared("amazon_2018", amazon(raw), tmp_path / "small")
    big = benchmark.pedantic(lambda: prepared("amazon_2018", amazon(large), tmp_path / "big"), rounds=1)
    say(benchmark, small_mb=small["megabytes"], large_mb=big["megabytes"], large_s=big["seconds"])
    assert big["megabytes"] < 1.5 * small["megabytes"]


def test_prepared_data_open_in_milliseconds(benchmark, raw, tmp_path):
    prepared("amazon_2018", amazon(raw), tmp_path / "out")
    benchmark(lambda: load(tmp_path / "out"))
    say(benchmark, milliseconds=benchmark.stats.stats.median * 1e3)
    assert benchmark.stats.stats.median < 0.05
