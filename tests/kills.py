"""A hundred killed runs: `python -m tests.kills FOLDER [KILLS]` prints what became of them.

A parent that has imported everything forks a child for each run. The child says over a pipe when a stage begins and
ends; the parent waits for a stage, then for a share of the time that it took undisturbed, and kills. After each kill a
second run has to end with the bytes of the undisturbed one. The product knows nothing of it: stages are wrapped here.
"""

from __future__ import annotations

import io
import json
import os
import select
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch

from llmemb_bench.base.folders import remove
from llmemb_bench.cli import main
from llmemb_bench.report.rows import as_json, read_rows
from llmemb_bench.running import run
from llmemb_bench.spec.cells import load_cells
from llmemb_bench.stages import adapter as stage_of_adapter
from llmemb_bench.stages import candidates, dataset, recommender, vectors
from llmemb_bench.text import adapter, probe
from tests.helpers.small_world import bytes_of, make_world

STAGES = ("data", "scft", "encode", "teacher", "train", "rank", "run folder", "database")
SECONDS = 120
TRIES = 6
"""A kill that came after its stage is counted where it fell, and its stage is tried again, earlier."""

AFTER = ("runs", "llmemb.duckdb")
UNDONE = {
    "data": ("data",),
    "scft": ("adapter", "vectors"),
    "encode": ("vectors",),
    "teacher": ("recommender",),
    "train": ("recommender/{student}",),
    "rank": ("candidates", "facts"),
    "run folder": (),
    "database": (),
}
"""What of the cache is undone before a run that is to be killed in a stage; runs and store always are."""

Say = Callable[[str], None]


def wrap_stages(say: Say) -> None:
    """Let each stage say `+name` and `-name`, in this process only."""

    def told(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*words: Any, **settings: Any) -> Any:
            say(f"+{name}")
            found = function(*words, **settings)
            say(f"-{name}")
            return found

        return call

    def train(method: Any, *rest: Any) -> Any:
        name = "train" if type(method).__name__ == "LlmEmb" else "teacher"
        return told(name, plain_train)(method, *rest)

    plain_train = recommender.train
    dataset.prepare = told("data", dataset.prepare)
    stage_of_adapter.tune_and_save = told("scft", stage_of_adapter.tune_and_save)
    vectors.encode = told("encode", vectors.encode)
    recommender.train, candidates.rank = train, told("rank", candidates.rank)
    run.RunFolder.fill, run.enter = told("run folder", run.RunFolder.fill), told("database", run.enter)
    adapter.subprocess.run = probe_in_a_fork


def probe_in_a_fork(program: list[str], *, input: str, **_: Any) -> Any:  # noqa: A002  # as subprocess names it
    """The fresh process that reads an adapter back, without the seconds that torch takes to be imported."""
    child = os.fork()
    if child == 0:
        sys.stdin = io.StringIO(input)
        probe.main()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return adapter.subprocess.CompletedProcess(program, os.waitstatus_to_exitcode(status), "", "")


class Run:
    """`llmemb-bench run` in a child."""

    def __init__(self, spec: Path, results: Path) -> None:
        self.ears, mouth = os.pipe()
        self.errors = results.with_suffix(".err")
        self.pid = os.fork()
        if self.pid == 0:
            self._live(spec, results, mouth)
        os.close(mouth)
        self.told: list[tuple[str, float]] = []

    def _live(self, spec: Path, results: Path, mouth: int) -> None:
        """The child's whole life."""
        code = 1
        try:
            with self.errors.open("w") as errors, Path(os.devnull).open("w") as out:
                os.dup2(errors.fileno(), 2)
                os.dup2(out.fileno(), 1)
            sys.argv = ["llmemb-bench", "run", str(spec), "--results", str(results), "--progress", "none"]
            wrap_stages(lambda word: os.write(mouth, f"{word}\n".encode()))
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            os._exit(code)

    def hear(self, until: Callable[[str], bool], seconds: float = SECONDS) -> bool:
        """Listen until a word, the end of the child, or for some seconds; whether the word came."""
        deadline, rest = time.monotonic() + seconds, b""
        while (left := deadline - time.monotonic()) > 0 and select.select([self.ears], [], [], left)[0]:
            block = os.read(self.ears, 1) or b""
            if not block:
                return False
            rest += block
            if block == b"\n":
                word, rest = rest.decode().strip(), b""
                self.told.append((word, time.monotonic()))
                if until(word):
                    return True
        return False

    def end(self) -> int:
        """Wait; the exit code, negative for a signal."""
        self.hear(lambda _: False)
        os.close(self.ears)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def stage(self) -> str:
        """Where the child is, by its last word: a stage, or `between`."""
        last = self.told[-1][0] if self.told else ""
        return last[1:] if last.startswith("+") else "between"


def undisturbed(spec: Path, results: Path) -> dict[str, float]:
    """Seconds of each stage."""
    whole = Run(spec, results)
    assert whole.end() == 0, whole.errors.read_text()
    begun = {word[1:]: at for word, at in whole.told if word[0] == "+"}
    ended = {word[1:]: at for word, at in whole.told if word[0] == "-"}
    assert set(begun) == set(STAGES), begun
    return {name: ended[name] - begun[name] for name in STAGES}


def undone(whole: Path, results: Path, stage: str) -> None:
    """A copy of the undisturbed results without those of a stage and of what comes after it."""
    shutil.rmtree(results, ignore_errors=True)
    shutil.copytree(whole, results)
    [student] = [
        path.parent.name
        for path in whole.glob(".cache/recommender/*/training.json")
        if json.loads(path.read_text())["teacher"] is not None
    ]
    for name in (*AFTER, *(f".cache/{part.format(student=student)}" for part in UNDONE[stage])):
        remove(results / name)


def kill(spec: Path, results: Path, stage: str, wait: float, number: int) -> tuple[str, int]:
    """Start a run and end it `wait` seconds into a stage; where that was and how it ended."""
    running = Run(spec, results)
    assert running.hear(lambda word: word == f"+{stage}"), running.errors.read_text()
    running.hear(lambda _: False, wait)
    os.kill(running.pid, number)
    code = running.end()
    return running.stage, code


def left_behind(results: Path) -> list[str]:
    """Half-made folders and files."""
    return [str(path.relative_to(results)) for path in results.rglob("*") if ".part" in path.name]


def measure(folder: Path, kills: int, *, each: int = 5) -> dict[str, Any]:
    """Kill, run again, compare; every `each`-th kill of a stage is a SIGTERM."""
    torch.set_num_threads(1)
    spec, whole, results = make_world(folder), folder / "whole", folder / "killed"
    load_cells(spec, [], [])  # whatever is imported late is imported now
    seconds = undisturbed(spec, whole)
    expected, report = bytes_of(whole), as_json(read_rows(whole, [], []))
    counts: dict[str, Counter[str]] = {"SIGKILL": Counter(), "SIGTERM": Counter()}
    outcome: dict[str, Any] = {"seconds": seconds, "parts after SIGTERM": [], "codes of SIGTERM": [], "unequal": []}
    for turn in range(kills):
        stage, place = STAGES[turn % len(STAGES)], (turn // len(STAGES) + 0.5) / -(-kills // len(STAGES))
        name = "SIGTERM" if turn // len(STAGES) % each == each - 1 else "SIGKILL"
        for attempt in range(TRIES):
            undone(whole, results, stage)
            found, code = kill(spec, results, stage, place * seconds[stage] * 0.7**attempt, signal.Signals[name])
            if found == stage or attempt == TRIES - 1:
                break
        counts[name][found] += 1
        if name == "SIGTERM":
            outcome["codes of SIGTERM"].append(code)
            outcome["parts after SIGTERM"] += left_behind(results)
        sys.stderr.write(f"{turn} {name} {found} {place:.2f} {code}\n")
        again = Run(spec, results)
        ended = again.end()
        same = ended == 0 and bytes_of(results) == expected and as_json(read_rows(results, [], [])) == report
        if not same or (parts := left_behind(results)):
            outcome["unequal"].append(
                [turn, stage, place, name, ended, again.errors.read_text(), parts if same else []]
            )
    outcome["kills"] = {name: {stage: found[stage] for stage in (*STAGES, "between")} for name, found in counts.items()}
    return outcome


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), *map(int, sys.argv[2:3] or ["104"]))))  # noqa: T201
