"""`compare`: two finished runs side by side; and the page that `show` prints of one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmemb_bench.base import progress
from llmemb_bench.base.errors import BenchError
from llmemb_bench.base.terminal import as_json, tables
from llmemb_bench.cli.compare import installed
from llmemb_bench.cli.options import DEFAULT_RESULTS, ProgressMode, Results
from llmemb_bench.cli.serving import Run

if TYPE_CHECKING:
    from collections.abc import Iterable


def compare(
    first: Run,
    second: Run,
    protocol: Annotated[
        str, typer.Option(help="Of a protocol that both have; by default the first one's first.", metavar="PROTOCOL")
    ] = "",
    format_: Annotated[Literal["rich", "json"], typer.Option("--format", help="Tables, or one JSON object.")] = "rich",
    results: Results = DEFAULT_RESULTS,
    progress_: ProgressMode = None,
) -> None:
    """Compare two runs: settings and metrics that differ, users won and lost, who gained and lost most."""
    progress.show(progress_)
    from llmemb_bench.runs.find import find_run
    from llmemb_bench.runs.stored import read_run

    runs = read_run(find_run(first, results)), read_run(find_run(second, results))
    with installed("compare"):
        from llmemb_bench.report import pair_page
        from llmemb_bench.report.pair import different_settings, pair_of

        pair = pair_of(runs[0], runs[1], protocol)
    settings = different_settings(runs[0], runs[1])
    titles = _titles(runs[0].folder, results, (item for one in (*pair.users, *pair.items) for item in one.targets))
    if format_ == "json":
        typer.echo(as_json(pair_page.as_json(runs, settings, pair, titles)))
    else:
        pair_page.print_pair(runs, settings, pair, titles, tables())


def _titles(run: Path, results: Path, items: Iterable[str]) -> dict[str, str]:
    """Item to title, of those that have one; none where the data are gone."""
    from llmemb_bench.serving.load import catalogue_of
    from llmemb_bench.serving.recommend import title

    wanted, found = set(items), {}
    with suppress(BenchError):
        catalogue = catalogue_of(run, results)
        for row, item in enumerate(catalogue.ids):
            if item in wanted:
                found[item] = title(catalogue.attributes[row])
    return found


def show_run(folder: Path, format_: Literal["rich", "json"]) -> None:
    """One run in a page."""
    from llmemb_bench.report import page
    from llmemb_bench.runs.stored import read_run

    run = read_run(folder)
    if format_ == "json":
        typer.echo(as_json(page.as_json(run)))
    else:
        page.print_run(run, tables())
