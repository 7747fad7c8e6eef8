"""Which run folder the user means."""

from __future__ import annotations

from pathlib import Path

from llmemb_bench.base.errors import MissingError, SpecError
from llmemb_bench.registry.config import expanded
from llmemb_bench.registry.entries import suggestion
from llmemb_bench.runs.schema import MANIFEST

SHOWN = 8
"""Candidates that an error lists."""


def find_run(wanted: str, results: Path) -> Path:
    """A run folder by its path, or by a part of `EXPERIMENT/FOLDER` that only one in `results` has; a MissingError
    where none has it, a SpecError where several do."""
    if (expanded(wanted) / MANIFEST).is_file():
        return expanded(wanted)
    known = {
        f"{path.parent.parent.name}/{path.parent.name}": path.parent
        for path in sorted((results / "runs").glob("*/[!.]*/" + MANIFEST))
    }
    if not known:
        raise MissingError(
            f"no run '{wanted}': there are none in {results}",
            where="RUN",
            fix="llmemb-bench run SPEC, or name the results folder with --results",
        )
    exact = [name for name in known if wanted in (name, known[name].name)]
    holding = exact if len(exact) == 1 else [name for name in known if wanted.strip("/") in name]
    if not holding:
        fix = suggestion(wanted, list(known)) if len(known) <= SHOWN else f"among them: {_some(list(known))}"
        raise MissingError(f"no run '{wanted}' in {results}", where="RUN", fix=fix)
    if len(holding) > 1:
        raise SpecError(
            f"'{wanted}' is a part of {len(holding)} runs", where="RUN", fix=f"name one of them: {_some(holding)}"
        )
    return known[holding[0]]


def _some(names: list[str]) -> str:
    left = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {left} more" if left > 0 else "")
