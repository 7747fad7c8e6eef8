"""SIGTERM and a disk that refuses: a line, a code, and nothing half-made."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest

from llmemb_bench.base.disk import refusal, refusals
from llmemb_bench.base.errors import Exit, MissingError
from llmemb_bench.base.signals import Terminated, interruptible, terminable
from llmemb_bench.stages.cache import Cache

LONG = "select count(*) from range(1000000) a, range(300) b where hash(a.range + b.range) % 7 = 1"
"""A second or two in one call of DuckDB: it may see a signal only when it is done."""


def soon(number: int) -> None:
    threading.Timer(0.2, lambda: os.kill(os.getpid(), number)).start()


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_in_the_middle_of_a_query_is_what_it_is_and_leaves_no_half_made_folder(number, expected, tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it

    def make(folder: Path) -> None:
        (folder / "half").write_text("half")
        with duckdb.connect() as db:
            db.execute(LONG)

    def start() -> None:
        with terminable(), interruptible():
            soon(number)
            with Cache(tmp_path).filling("data", "k" * 64) as folder:
                make(folder)

    try:
        with pytest.raises(expected):
            start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f".{'k' * 24}.lock"]


def test_no_handler_for_exceptions_holds_a_termination_up():
    def hold_up() -> None:
        try:
            soon(signal.SIGTERM)
            time.sleep(5)
        except (Exception, KeyboardInterrupt, SystemExit):
            pytest.fail("caught")

    with pytest.raises(Terminated), terminable():
        hold_up()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_another_runtime_error_stays_what_it_is():
    with pytest.raises(RuntimeError, match="mine"), interruptible():
        raise RuntimeError("mine")


def test_a_terminated_command_ends_with_143_and_leaves_no_part(tmp_path):
    (tmp_path / "spec.yaml").write_text(
        "version: 1\nname: long\ndataset: {use: synthetic}\n"
        "recommender: {method: id_only, backbone: sasrec, objective: bce, train: {epochs: 1000, patience: 1000}}\n"
    )
    words = ["-m", "llmemb_bench", "run", "spec.yaml", "--progress", "plain"]
    started = subprocess.Popen([sys.executable, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("results/.cache/recommender/.*.part-*")):
        assert started.poll() is None, started.stderr.read()
        time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    _, rest = started.communicate(timeout=60)
    assert (started.returncode, "Traceback" in rest) == (143, False)
    assert rest.endswith("terminated; run the same command again and it does only what is missing\n")
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/disk/file"), "/disk/file: cannot be used: No space left"),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            "here: cannot be used: Disk quota exceeded -> free some space there",
        ),
        (
            OSError(errno.EROFS, "Read-only file system"),
            "Read-only file system -> choose another folder with --results",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: cannot be used: Permission denied -> choose"),
        (FileExistsError(errno.EEXIST, "File exists", "x"), "x: cannot be used: File exists"),
        (OSError("5000 requested and 120 written"), "here: cannot be used: No space left on device -> free some space"),
        (duckdb.IOException('Could not write file "x": No space left on device'), "No space left on device -> free"),
        (duckdb.IOException('Could not truncate "x": Disk quota exceeded'), "Disk quota exceeded -> free some space"),
        (RuntimeError("I/O error: Read-only file system (os error 30)"), "Read-only file system -> choose"),
        (duckdb.IOException("Could not fsync file: Input/output error"), "Input/output error -> choose another"),
    ],
)
def test_what_a_disk_refuses_is_one_line_whoever_says_it(error, words):
    with pytest.raises(MissingError) as raised, refusals(Path("here")):
        raise error
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == Exit.ENVIRONMENT == 4


@pytest.mark.parametrize(
    "error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), TimeoutError(), OSError("no such model"), ValueError("x")]
)
def test_what_is_no_disks_doing_stays_what_it_is(error):
    assert refusal(error) is None


@pytest.mark.parametrize("size", [100, 1000, 10_000])
def test_a_disk_that_takes_no_more_in_the_middle_of_a_run_is_one_line(size, tmp_path, cli):
    """The system refuses every file from a size on: that of a name, of an array, of the store."""
    (tmp_path / "spec.yaml").write_text(
        "version: 1\nname: p\ndataset: {use: synthetic, users: 50, catalogue: 100}\n"
        "recommender: {method: popularity}\nevaluate: {protocols: [full]}\n"
    )
    words = ("run", tmp_path / "spec.yaml", "--results", tmp_path / "results", "--progress", "none")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        ran = cli(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    [line] = ran.err.splitlines()
    assert (ran.code, "cannot be used: File too large -> " in line) == (4, True), line
    assert not list(tmp_path.rglob("*.part*"))
    assert cli(*words).code == 0


BUSY = """
import hashlib, sys, threading
from llmemb_bench.base.signals import terminable

def busy():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

def watch(main):
    while sys._current_frames()[main].f_code is not busy.__code__:
        pass
    print("in", flush=True)

threading.Thread(target=watch, args=(threading.get_ident(),), daemon=True).start()
with terminable():
    busy()
"""
"""A call of minutes that says when it is under way."""


def test_a_termination_waits_for_no_call_that_looks_at_no_signal():
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"in\n"
        process.terminate()
        assert process.wait(timeout=30) == Exit.TERMINATED
