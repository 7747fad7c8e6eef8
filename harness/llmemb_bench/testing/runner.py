"""Runs the checks of a kind on one plugin; a failing plugin is a result, never a crash."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmemb_bench.base.errors import BenchError, one_line
from llmemb_bench.base.signals import Terminated
from llmemb_bench.contracts import Plugin
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.entries import Entry, find
from llmemb_bench.registry.kinds import KINDS
from llmemb_bench.testing.case import Broken, Case, Skipped, require


@dataclass(frozen=True)
class Result:
    """How one check ended."""

    check: str
    status: Literal["passed", "failed", "skipped"]
    reason: str = ""


Check = Callable[[Case[Any]], None]


def run_checks(kind: str, name: str) -> list[Result]:
    """Every check of the kind; a plugin whose every check of its own kind was skipped fails."""
    entry = find(kind, name)
    try:
        plugin = entry.load()
    except BenchError as error:
        return [Result("it can be imported", "failed", str(error))]
    with tempfile.TemporaryDirectory() as folder:
        results = [_run(check, entry, plugin, Path(folder)) for check in (*COMMON, *KINDS[kind].load_checks())]
    if all(result.status == "skipped" for result in results[len(COMMON) :]):
        results.append(Result("one of its kind's checks ran", "failed", "every check was skipped"))
    return results


def _run(check: Check, entry: Entry, plugin: type[Plugin], folder: Path) -> Result:
    name = check.__name__.replace("_", " ")
    try:
        settings = plugin.example(folder)
        check(Case(entry, plugin, plugin.config_type().model_validate(settings), folder))
    except Skipped as skipped:
        return Result(name, "skipped", str(skipped))
    except (Broken, BenchError) as error:
        return Result(name, "failed", str(error))
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:  # whatever a plugin raises is its result
        return Result(name, "failed", _raised(error, entry))
    return Result(name, "passed")


def _raised(error: BaseException, entry: Entry) -> str:
    """What a plugin raised, and the line of its file that was on the way."""
    words = one_line(error)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(entry.path)]
    return f"it raises {words} -> look at {entry.path}:{lines[-1]}" if lines else f"it raises {words}"


def its_first_line_says_what_it_is(case: Case[Plugin]) -> None:
    summary = case.entry.summary
    require(summary != "(no docstring)", "the file has no docstring", "its first line is shown by `llmemb-bench list`")
    finding = f"the first line of the docstring has {len(summary)} characters, should have 120 at most"
    require(len(summary) <= 120, finding)


def every_setting_is_documented(case: Case[Plugin]) -> None:
    bare = [name for name, field in type(case.config).model_fields.items() if not field.description]
    require(not bare, f"settings without documentation: {', '.join(bare)}", "a docstring under each of them")


def its_settings_survive_a_round_trip(case: Case[Plugin]) -> None:
    config: Config = case.config
    again = type(config).model_validate(dict(config))
    require(again == config, "settings read back from their own values are different", "its validators")


COMMON: tuple[Check, ...] = (
    its_first_line_says_what_it_is,
    every_setting_is_documented,
    its_settings_survive_a_round_trip,
)
