"""`llmemb-bench data ...`: get, check, look at and prepare a dataset before any experiment."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmemb_bench.base import progress
from llmemb_bench.base.errors import Exit, MissingError
from llmemb_bench.base.terminal import say, tables
from llmemb_bench.cli.options import DEFAULT_RESULTS, ProgressMode, Results, Sets

if TYPE_CHECKING:
    from llmemb_bench.spec.check import DataSpec

data = typer.Typer(help="Fetch, verify, describe and prepare datasets.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        help="A dataset plugin (with its settings by --set), or a spec, whose dataset is used.", metavar="NAME"
    ),
]


def data_part(name: str, sets: list[str] | None) -> DataSpec:
    from llmemb_bench.registry.config import expanded
    from llmemb_bench.spec.check import DataSpec, partial_spec
    from llmemb_bench.spec.source import Document, override, read

    path = expanded(name)
    if path.suffix in (".yaml", ".yml"):
        document = read(path)
        for assignment in sets or []:
            override(document, assignment)
    else:
        document = Document({"dataset": {"use": name}})
        for assignment in sets or []:
            is_dotted = assignment.startswith(("split.", "dataset.", "evaluate."))
            override(document, assignment if is_dotted else f"dataset.{assignment}")
    return partial_spec(document, DataSpec)


@data.command()
def fetch(
    name: Name,
    set_: Sets = None,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the terms without being asked.")] = False,
    progress_: ProgressMode = None,
) -> None:
    """Download the official files into the folder that `path` names, if their terms allow it."""
    progress.show(progress_)
    from llmemb_bench.data import fetch as fetching
    from llmemb_bench.registry.config import SpecPath

    choice = data_part(name, set_).dataset
    downloads = choice.config.downloads()
    folder = getattr(choice.config, "path", None)
    if not downloads or not isinstance(folder, SpecPath):
        raise MissingError(f"'{choice.use}' has no files that can be downloaded for you", fix=choice.plugin.obtain)
    target = folder.resolve()
    for line in (*(download.url for download in downloads), f"terms: {choice.plugin.licence}", f"into: {target}"):
        say(line, err=True)
    if not yes and not (sys.stdin.isatty() and typer.confirm("Do you accept the terms and download?", err=True)):
        raise MissingError("nothing was downloaded", fix="read the terms, then add --yes")
    for path in fetching.fetch(downloads, target):
        say(path)


@data.command()
def verify(name: Name, results: Results = DEFAULT_RESULTS, set_: Sets = None) -> None:
    """Check raw files (whole, and as recorded) and what was prepared from them; exit code 5 on a mismatch."""
    from llmemb_bench.contracts import Dataset
    from llmemb_bench.data.verify import verify_prepared, verify_raw
    from llmemb_bench.registry.build import build
    from llmemb_bench.stages.cache import Cache
    from llmemb_bench.stages.dataset import PreparedData

    choice = data_part(name, set_).dataset
    verdicts = verify_raw(build(Dataset, choice))
    folder = PreparedData(Cache(results / ".cache"), choice).folder
    verdicts += verify_prepared(folder) if folder.exists() else []
    for verdict in verdicts:
        say(f"{'ok ' if verdict.fine else 'BAD'} {verdict.path}: {verdict.finding}")
    if not folder.exists():
        say(f"not prepared yet in {results}", err=True)
    if not all(verdict.fine for verdict in verdicts):
        raise typer.Exit(int(Exit.MISMATCH))


@data.command()
def prepare(name: Name, results: Results = DEFAULT_RESULTS, set_: Sets = None, progress_: ProgressMode = None) -> None:
    """Read, filter, order and number the events; done once, and opened in milliseconds afterwards."""
    progress.show(progress_)
    from llmemb_bench.stages.cache import Cache
    from llmemb_bench.stages.dataset import PreparedData

    prepared = PreparedData(Cache(results / ".cache"), data_part(name, set_).dataset)
    made = prepared.result()
    size = f"{made.n_users:,} users, {made.n_items:,} items, {len(made.items):,} events"
    say(f"{size} in {prepared.folder}")


@data.command()
def describe(
    name: Name,
    results: Results = DEFAULT_RESULTS,
    set_: Sets = None,
    format_: Annotated[Literal["rich", "json"], typer.Option("--format", help="A table, or one JSON object.")] = "rich",
    progress_: ProgressMode = None,
) -> None:
    """Print statistics, what preparation dropped or repaired, and the leak report, beside the known figures."""
    progress.show(progress_)
    from llmemb_bench.data.statistics import MEANINGS, warnings
    from llmemb_bench.evaluation.buckets import bucket_facts
    from llmemb_bench.report.data import differences, expected_of, print_facts
    from llmemb_bench.stages.cache import Cache
    from llmemb_bench.stages.dataset import DatasetFacts, PreparedData, SplitData

    part = data_part(name, set_)
    choice = part.dataset
    prepared = PreparedData(Cache(results / ".cache"), choice)
    made, dataset, cut = prepared.result(), prepared.dataset, SplitData(prepared, part.split)
    known = dataset.known()
    facts = DatasetFacts(cut).result() | {"buckets": bucket_facts(cut.result(), part.evaluate)}
    if format_ == "json":
        found = {
            "facts": facts,
            "expected": expected_of(known),
            "meanings": MEANINGS,
            "warnings": warnings(dataset, made),
        }
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
    else:
        title = " ".join(filter(None, [choice.use, choice.config.variant(), part.split.label]))
        print_facts(title, facts, known, tables())
    for line in warnings(dataset, made):
        progress.alert(f"warning: {line}")
    if different := differences(facts, known):
        progress.alert(f"not as {known.source if known else ''} has them: {', '.join(different)}")
        raise typer.Exit(int(Exit.MISMATCH))
