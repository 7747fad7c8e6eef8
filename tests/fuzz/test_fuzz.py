"""Whatever a spec or a table holds: a documented exit code, lines and no traceback, no file left, no hang.

Some seconds of it run with the suite; for longer: LLMEMB_BENCH_FUZZ_SECONDS=600 pytest -m slow tests/fuzz
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import tempfile
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, seed, settings
from hypothesis import strategies as st

from llmemb_bench.cli import main
from tests.fuzz.worlds import EVENTS, ITEMS, SPECS, RawTable, specs, tables, yaml_texts

CODES = {0, 1, 2, 3, 4, 5}
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
SECONDS = 10
"""Of the processor, that an example may take."""
EXAMPLES = 4
QUICK = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
LONG = settings(
    max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)


class Hang(BaseException):
    """An example that took too long; no `except Exception` takes it for a failure."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    old = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


def fresh(folder: Path) -> None:
    """The files that specs name, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    (folder / "events.csv").write_text(EVENTS)
    (folder / "items.csv").write_text(ITEMS)
    np.save(folder / "v.npy", np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32))
    (folder / "ids.txt").write_text("".join(f"i{item}\n" for item in range(9)))


def files(folder: Path) -> dict[str, bytes]:
    """All that lies outside the results."""
    found = [path for path in folder.rglob("*") if path.is_file() and folder / "results" not in path.parents]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def check(folder: Path, *words: str) -> None:
    """Run a command in a folder and look at everything that it leaves."""
    before, out, err, code = files(folder), io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(tempfile, "tempdir", str(folder / "tmp"))
        patch.setenv("LLMEMB_BENCH_DEBUG", "1")  # what nobody expected is no line but raised
        patch.setattr("sys.argv", ["llmemb-bench", *words])
        try:
            with limited():
                main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    told = [line for line in err.getvalue().splitlines() if line.startswith("error: ")]
    assert code in CODES, err.getvalue()
    assert bool(told) == (code not in (0, 5)), (code, err.getvalue())
    unseen = {one for line in told for one in line if unicodedata.category(one) in UNSEEN}
    assert not unseen, told
    assert "Traceback" not in out.getvalue() + err.getvalue()
    assert files(folder) == before
    assert not [path for path in (folder / "results").rglob("*") if ".part" in path.name or path.name == "spill"]


def spec_holds(folder: Path, text: str) -> None:
    fresh(folder)
    (folder / "spec.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    check(folder, "validate", "spec.yaml")
    check(folder, "run", "spec.yaml", "--results", "results", "--progress", "none")


def table_holds(folder: Path, role: str, table: RawTable) -> None:
    fresh(folder)
    (folder / table.name).write_bytes(table.data)
    spec = f"version: 1\nname: fuzz\ndataset: {{use: table, events: events.csv, {role}: {table.name}}}\n"
    spec = spec.replace("events: events.csv, events", "events")
    rest = "embeddings: {encoder: {use: tfidf, dim: 3}}\nrecommender: {method: popularity}\n"
    (folder / "spec.yaml").write_text(f"{spec}{rest}evaluate: {{protocols: [full], cutoffs: [1]}}\n")
    check(folder, "data", "describe", "spec.yaml", "--results", "results", "--progress", "none")
    check(folder, "run", "spec.yaml", "--results", "results", "--progress", "none")


roles = st.sampled_from(["events", "items"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "world"


@pytest.mark.parametrize("place", range(len(SPECS)))
def test_the_specs_that_are_changed_run(place, folder, cli, monkeypatch):
    fresh(folder)
    monkeypatch.chdir(folder)
    (folder / "spec.yaml").write_text(json.dumps(SPECS[place]))
    assert cli("run", "spec.yaml", "--progress", "none").code == 0


@QUICK
@given(text=specs() | yaml_texts)
@example(text="a: " + "[" * 400)
@example(text="a: &a [*a]")
@example(text=json.dumps(SPECS[3] | {"dataset": SPECS[3]["dataset"] | {"rating": "\U000bf345"}}))  # no such character
def test_specs(text, folder):
    spec_holds(folder, text)


@QUICK
@given(role=roles, table=tables())
def test_tables(role, table, folder):
    table_holds(folder, role, table)


@pytest.mark.slow
def test_for_as_long_as_one_likes(folder):
    """Rounds of twenty examples, a seed each, until time is up; every kind of failure once, with its seed."""
    end = time.monotonic() + float(os.environ.get("LLMEMB_BENCH_FUZZ_SECONDS", "60"))
    folder.mkdir(parents=True)
    start = int(os.environ.get("LLMEMB_BENCH_FUZZ_SEED", "0"))
    counts, failures = {"specs": 0, "tables": 0}, dict[str, str]()

    def counted(name: str, hold: Callable[..., None], *given_: object) -> None:
        if time.monotonic() > end:
            return
        counts[name] += 1
        try:
            hold(folder, *given_)
        except (Exception, Hang) as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "llmemb_" in f.filename]
            place = (
                f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__
            )
            about = f"seed {number} {name}: {given_!r}"[:3000]
            failures.setdefault(place, f"{about}\n    {str(error)[:1500]}")

    number = start
    while time.monotonic() < end:

        @seed(number)
        @LONG
        @given(text=specs() | yaml_texts)
        def of_specs(text: str) -> None:
            counted("specs", spec_holds, text)

        @seed(number)
        @LONG
        @given(role=roles, table=tables())
        def of_tables(role: str, table: RawTable) -> None:
            counted("tables", table_holds, role, table)

        with contextlib.chdir(folder.parent):
            of_specs()
            of_tables()
        number += 1
    print(f"\nfuzz: {counts} examples, seeds {start} to {number - 1}")  # noqa: T201  # the counts are the point
    assert not failures, "\n".join(f"{place}\n  {about}" for place, about in failures.items())
