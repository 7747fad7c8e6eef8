"""The verbs. Each one is a thin shell: options in, one function of the harness, words out.

stdout holds the result only; progress and messages go to stderr.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from llmemb_bench import __version__
from llmemb_bench.base import progress
from llmemb_bench.base.errors import BenchError, Exit, MissingError, Problem, SpecError
from llmemb_bench.base.terminal import say, shown, table, tables
from llmemb_bench.cli.audit import audit
from llmemb_bench.cli.data import data
from llmemb_bench.cli.encoders import encoders
from llmemb_bench.cli.options import (
    DEFAULT_RESULTS,
    AccelerateConfig,
    ProgressMode,
    RemoteCode,
    Results,
    Seeds,
    Sets,
    begin,
)
from llmemb_bench.cli.report import print_report, report
from llmemb_bench.cli.runs import compare, show_run
from llmemb_bench.cli.serving import export, recommend
from llmemb_bench.cli.text import embed, neighbours
from llmemb_bench.registry.config import typed
from llmemb_bench.registry.entries import OURS, Entry, entries, kind_of, unknown, unreachable
from llmemb_bench.registry.kinds import KINDS

app = typer.Typer(
    name="llmemb-bench",
    help="Declarative benchmarks of LLM item embeddings for sequential recommendation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="First steps: llmemb-bench run specs/quickstart.yaml && llmemb-bench report",
)

KindArgument = Annotated[str | None, typer.Argument(help=f"One of: {', '.join(KINDS)}.", metavar="KIND")]

app.add_typer(data, name="data")
app.add_typer(encoders, name="encoders")


def _version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(f"llmemb-bench {__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    """Declarative benchmarks of LLM item embeddings for sequential recommendation."""


@app.command()
def run(
    spec: Annotated[
        Path, typer.Argument(help="A YAML spec, for example specs/quickstart.yaml.", parser=typed, metavar="SPEC")
    ],
    results: Results = DEFAULT_RESULTS,
    seed: Seeds = None,
    set_: Sets = None,
    progress_: ProgressMode = None,
    remote_code: RemoteCode = False,
    accelerate_config: AccelerateConfig = None,
) -> None:
    """Run an experiment and print its table; running it again does only what is missing."""
    progress.show(progress_)
    from llmemb_bench.spec.cells import load_cells

    cells = load_cells(spec, set_ or [], seed or [])
    with begin(remote_code, accelerate_config):
        from llmemb_bench.running.run import run_cells

        outcome = run_cells(cells, results)
    if outcome.reports:
        if outcome.done:
            print_report(results, cells[0].spec.name)
        reused = f" ({outcome.reused} were already there)" if outcome.reused else ""
        failed = f", {outcome.failed} failed" if outcome.failed else ""
        see = f"; see: llmemb-bench report --results {results}" if outcome.done else ""
        say(f"{outcome.done} of {len(cells)} cells done{reused}{failed}{see}")
    if outcome.error is not None:
        raise typer.Exit(int(Exit.SOME_FAILED if outcome.done else outcome.error.exit_code))


app.command()(embed)
app.command()(neighbours)
app.command()(recommend)
app.command()(export)
app.command()(audit)
app.command()(report)
app.command()(compare)


@app.command()
def validate(
    specs: Annotated[list[Path], typer.Argument(help="YAML specs.", parser=typed, metavar="SPEC...")],
    set_: Sets = None,
) -> None:
    """Check specs; needs neither data nor weights nor a GPU."""
    from llmemb_bench.spec.cells import load_cells

    problems: list[Problem] = []
    for spec in specs:
        try:
            cells = load_cells(spec, set_ or [])
            say(f"{spec}: valid, {len(cells)} cells")
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError.of(problems)


def _listed(kind: str | None) -> list[Entry]:
    wanted = None if kind is None else kind_of(kind)
    return [entry for entry in entries() if wanted in (None, entry.kind)]


@app.command("list")
def list_(
    kind: KindArgument = None,
    check: Annotated[bool, typer.Option("--check", help="Import each one and show what is broken.")] = False,
) -> None:
    """List plugins; without --check nothing is imported."""
    listed = _listed(kind)
    printed = table("KIND", "NAME", "ORIGIN", "WHAT IT IS", folded={"WHAT IT IS"})
    errors = {entry: _import_error(entry) if check else "" for entry in listed}
    for entry, error in errors.items():
        origin = "" if entry.origin == OURS else entry.origin
        what = Text.assemble(("BROKEN", "red"), f" {shown(error)}") if error else entry.summary
        printed.add_row(entry.kind, entry.name, origin, what)
    tables().print(printed)
    if check:
        _tell_checked(listed, sum(bool(error) for error in errors.values()))


def _tell_checked(listed: list[Entry], broken: int) -> None:
    """What --check did, and what it did not."""
    problems = unreachable()
    for problem in problems:
        say(f"BROKEN {problem}")
    origins = sorted({entry.origin for entry in listed})
    found = f"{broken} broken" if broken else "none broken"
    say(
        f"checked: {len(listed)} plugins of {', '.join(origins) or 'no package'} imported, one class of the kind in "
        f"each file: {found}; their contracts: llmemb-bench test"
    )
    if broken or problems:
        raise typer.Exit(int(Exit.FAILED))


def _import_error(entry: Entry) -> str:
    try:
        entry.load()
    except BenchError as error:
        return str(error)
    return ""


def _named(name: str) -> list[Entry]:
    kind, slash, bare = name.rpartition("/")
    found = [entry for entry in _listed(kind if slash else None) if entry.name == bare]
    if not found:
        raise unknown(bare)
    return found


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(help="A plugin's name, or KIND/NAME; or a run, as `recommend` takes it.", metavar="NAME|RUN"),
    ],
    results: Results = DEFAULT_RESULTS,
    format_: Annotated[
        Literal["rich", "json"], typer.Option("--format", help="A page, or one JSON object (of a run).")
    ] = "rich",
) -> None:
    """Show a plugin's settings: type, default, meaning and origin; or a run: numbers, time, curves, warnings."""
    folder = _run_of(name, results)
    if folder is not None:
        show_run(folder, format_)
        return
    if format_ == "json":
        raise SpecError("is of runs", where="--format", fix="llmemb-bench schema for the settings of plugins")
    from llmemb_bench.cli.show import print_plugin

    for entry in _named(name):
        print_plugin(entry, tables())


def _run_of(name: str, results: Path) -> Path | None:
    """The run folder that is meant; None where a plugin is, or where no run has the name."""
    from llmemb_bench.runs.find import find_run

    kind, _, bare = name.rpartition("/")
    if any(entry.name == bare and kind in ("", entry.kind, KINDS[entry.kind].singular) for entry in entries()):
        return None
    try:
        return find_run(name, results)
    except MissingError:
        if "/" in kind:  # no plugin's name
            raise
        return None


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(KINDS)}; singular or plural.", metavar="KIND")],
    name: Annotated[str, typer.Argument(help="The plugin's name in specs and the file's stem.")],
    into: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the plugin package; by default the one that the pyproject.toml here names.",
            parser=typed,
            metavar="PATH",
        ),
    ] = None,
) -> None:
    """Write a working skeleton of a plugin that passes its contract checks."""
    from llmemb_bench.registry.projects import indented, project_of, short, way_in, write_project
    from llmemb_bench.registry.scaffold import new_plugin

    path = new_plugin(kind, name, into)
    package = path.parent.parent
    say(f"wrote {short(path)}")
    if project_of(package) is None:
        project = write_project(package)
        say(f"wrote {short(project)}:")
        typer.echo(indented(project.read_text(encoding="utf-8")))
    if package.resolve() not in {entry.path.parent.parent.resolve() for entry in entries()}:
        typer.echo(f"first, once, so that specs find it: {way_in(package)}")
    say(f"next: edit it, then: llmemb-bench test {path.parent.name}/{name}")


@app.command("test")
def test_(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Plugins, as NAME or KIND/NAME; by default all.", metavar="[NAME]..."),
    ] = None,
) -> None:
    """Run the contract checks of plugins, your own included."""
    chosen = [entry for name in names for entry in _named(name)] if names else list(entries())
    from llmemb_bench.testing import run_checks

    failed = 0
    for entry in chosen:
        results = run_checks(entry.kind, entry.name)
        counts = {status: sum(r.status == status for r in results) for status in ("passed", "failed", "skipped")}
        say(
            f"{entry.kind}/{entry.name}: " + ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        )
        for result in results:
            if result.status != "passed":
                say(f"    {result.status}: {result.check}: {result.reason}")
        failed += counts["failed"] > 0
    if failed:
        raise typer.Exit(int(Exit.FAILED))


@app.command()
def schema(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to this file instead of stdout.", parser=typed, metavar="PATH"),
    ] = None,
) -> None:
    """Write the JSON Schema of specs, installed plugins included, for editors."""
    from llmemb_bench.spec.schema import spec_schema

    text = json.dumps(spec_schema(), indent=1)
    if output is None:
        typer.echo(text)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text + "\n", encoding="utf-8")
        say(f"wrote {output}; first line of a spec: # yaml-language-server: $schema={output}")
