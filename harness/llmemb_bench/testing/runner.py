"""Runs the checks of a kind on one plugin; a failing plugin is a result, never a crash."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmemb_bench.config import Config
from llmemb_bench.contracts import Plugin
from llmemb_bench.errors import BenchError, told
from llmemb_bench.registry import Entry, find
from llmemb_bench.testing import recommender, text
from llmemb_bench.testing.case import Case, Skipped


@dataclass(frozen=True)
class Result:
    """How one check ended."""

    check: str
    status: Literal["passed", "failed", "skipped"]
    reason: str = ""


Check = Callable[[Case[Any]], None]

CHECKS: dict[str, tuple[Check, ...]] = {
    "datasets": text.DATASETS,
    "encoders": text.ENCODERS,
    "augmentations": text.AUGMENTATIONS,
    "losses": text.LOSSES,
    "backbones": recommender.BACKBONES,
    "methods": recommender.METHODS,
    "objectives": recommender.OBJECTIVES,
    "metrics": recommender.METRICS,
}


def run_checks(kind: str, name: str) -> list[Result]:
    """Every check of the kind; a plugin whose every check of its own kind was skipped fails."""
    entry = find(kind, name)
    try:
        plugin = entry.load()
    except BenchError as error:
        return [Result("it can be imported", "failed", str(error))]
    with tempfile.TemporaryDirectory() as folder:
        results = [_run(check, entry, plugin, Path(folder)) for check in (*COMMON, *CHECKS[kind])]
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
    except (Exception, SystemExit) as error:  # whatever a plugin raises is its result
        return Result(name, "failed", told(error))
    return Result(name, "passed")


def its_first_line_says_what_it_is(case: Case[Plugin]) -> None:
    assert case.entry.summary != "(no docstring)", "the file has no docstring"
    assert len(case.entry.summary) <= 120, "the first line is longer than 120 characters"


def every_setting_is_documented(case: Case[Plugin]) -> None:
    bare = [name for name, field in type(case.config).model_fields.items() if not field.description]
    assert not bare, f"no docstring under {', '.join(bare)}"


def its_settings_survive_a_round_trip(case: Case[Plugin]) -> None:
    config: Config = case.config
    again = type(config).model_validate(dict(config))
    assert again == config


COMMON: tuple[Check, ...] = (
    its_first_line_says_what_it_is,
    every_setting_is_documented,
    its_settings_survive_a_round_trip,
)
