"""`run`: every cell of a spec, each result in a folder of its own and in the store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from llmemb_bench.base import progress
from llmemb_bench.base.disk import require_writable
from llmemb_bench.base.errors import BenchError
from llmemb_bench.base.signals import Terminated, interruptible
from llmemb_bench.evaluation.measure import metrics_of
from llmemb_bench.processes.world import world
from llmemb_bench.registry.defects import as_failure
from llmemb_bench.report.cell import main_numbers
from llmemb_bench.runs.database import compare, enter
from llmemb_bench.spec.cells import Cell
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.cell import CellStages, Graph
from llmemb_bench.stages.recommender import FittedRecommender
from llmemb_bench.stages.refusals import refuse
from llmemb_bench.stages.run_folder import RunFolder


@dataclass
class Outcome:
    """How the cells of a spec ended."""

    done: int = 0
    reused: int = 0
    """Cells whose results were already there."""
    failed: int = 0
    error: BenchError | None = None
    """The first failure."""
    reports: bool = True
    """Whether this process tells the user."""
    reported: set[str] = field(default_factory=set)
    """Lines of failures that the user has read."""

    @contextmanager
    def watching(self, cell: Cell, title: str = "") -> Iterator[None]:
        """Work on a cell: whatever a plugin raises ends this cell alone. `title`: said before what went wrong."""
        try:
            with interruptible():
                yield
        except (KeyboardInterrupt, Terminated):
            raise
        except BaseException as raised:
            if world().size > 1:
                raise  # the others wait in the middle of this cell; who started them all ends them
            if title:
                progress.say(title)
            self._count(cell.located(as_failure(raised)))

    def _count(self, error: BenchError) -> None:
        self.failed += 1
        self.error = self.error or error
        fresh = [line for line in map(str, error.problems) if line not in self.reported]
        for line in fresh or ["as before, for the same reason"]:  # cells share stages, and so their failures
            progress.alert(f"error: {line}")
        self.reported.update(fresh)


@dataclass(frozen=True)
class _Planned:
    """A cell whose data are known, and which nothing that can be known of them forbids."""

    cell: Cell
    title: str
    stages: CellStages
    run: RunFolder
    is_fresh: bool


def run_cells(cells: Sequence[Cell], results: Path) -> Outcome:
    """Run what is missing; a cell that fails is reported and does not stop the others.

    All cells are looked at before the first one is tuned or trained: what is there already is recognised without any
    work, and what the data forbid is said at once.
    """
    outcome, graph = Outcome(reports=world().is_first), Graph(Cache(results / ".cache"))
    if world().is_first:
        require_writable(results)  # before hours are spent on what could not be kept
        compare(results)
    for planned in _plan(cells, results, graph, outcome):
        progress.say(planned.title)
        start, stages = time.monotonic(), planned.stages
        with outcome.watching(planned.cell):
            if planned.is_fresh:
                graph.turn_to(stages)
                upstream = {stage: name for name, stage in stages.recommender.before.items()}
                for stage in stages.missing():
                    if isinstance(stage, FittedRecommender) and stage in upstream:
                        progress.say(f"{upstream[stage]}: {stage.label}")
                    stage.fill()
                stages.ranks.result()
                _keep(planned, results)
            outcome.done += 1
            outcome.reused += not planned.is_fresh
            took = f"in {time.monotonic() - start:.1f} s" if planned.is_fresh else "(was already there)"
            if outcome.reports:
                cutoff = planned.cell.spec.evaluate.cutoffs[0]
                progress.say(f"    {main_numbers(planned.run.path, cutoff)} {took}")
    return outcome


def _plan(cells: Sequence[Cell], results: Path, graph: Graph, outcome: Outcome) -> list[_Planned]:
    """The cells that can be run or were, in order; the others are counted as failed."""
    found = []
    for number, cell in enumerate(cells, start=1):
        labels = cell.labels
        title = (
            f"[{number}/{len(cells)}] {cell.spec.name}: {labels.method} x {labels.backbone} x {labels.encoder}"
            f" on {labels.dataset}, seed {cell.seed}"
        )
        with outcome.watching(cell, title):
            stages = graph.cell(cell.spec, cell.seed)
            run = RunFolder(results, cell, stages)
            is_fresh = world().agreed(not run.is_made)
            if is_fresh:
                metrics_of(cell.spec.evaluate)  # needs no data to be found wrong
                world().first(stages.data.result)
                graph.turn_to(stages)
                refuse(cell.spec, stages)
            found.append(_Planned(cell, title, stages, run, is_fresh))
    return found


def _keep(planned: _Planned, results: Path) -> None:
    """Write the run folder, and enter it into the store."""
    if world().is_first:
        planned.run.fill()
        enter(results, planned.run.path)
    planned.stages.ranks.release()
