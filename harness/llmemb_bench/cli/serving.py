"""`recommend` and `export`: a finished run put to use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from llmemb_bench.base import progress
from llmemb_bench.base.errors import SpecError
from llmemb_bench.base.terminal import as_json, say, tables
from llmemb_bench.cli.options import DEFAULT_RESULTS, ProgressMode, RemoteCode, Results, begin
from llmemb_bench.registry.config import typed

Run = Annotated[
    str,
    typer.Argument(help="A run folder, or a part of its name that no other run in results shares.", metavar="RUN"),
]
SpecFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder that relative paths of the run's spec start from, if the files have moved.",
        parser=typed,
        metavar="PATH",
    ),
]


def recommend(
    run: Run,
    user: Annotated[
        str | None, typer.Option(help="A user of the dataset; the history is all of the user's events.")
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(
            help="Item ids of the dataset, oldest first: A,B,C. Repeatable, so that an id may hold a comma.",
            metavar="ITEM,...",
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Items to show.")] = 10,
    format_: Annotated[Literal["rich", "json"], typer.Option("--format", help="A table, or one JSON object.")] = "rich",
    results: Results = DEFAULT_RESULTS,
    spec_folder: SpecFolder = None,
    progress_: ProgressMode = None,
    remote_code: RemoteCode = False,
) -> None:
    """Show what a finished run recommends to a user, or after a history."""
    progress.show(progress_)
    if (user is None) == (history is None):
        raise SpecError("give either a user or a history", where="recommend", fix="--user ID or --history ITEM,ITEM")
    from llmemb_bench.runs.find import find_run

    folder = find_run(run, results)
    with begin(remote_code, None):
        from llmemb_bench.serving import recommend as serving
        from llmemb_bench.serving.load import load_run

        loaded = load_run(folder, results, spec_folder)
        data = loaded.split.data
        if user is not None:
            events = serving.history_of_user(data, user)
        else:
            events = serving.history_of_items(data, history or [])
        found = serving.recommend(loaded, events, top, user)
        if format_ == "json":
            typer.echo(as_json(serving.as_json(found)))
        else:
            serving.print_recommended(found, tables())


def export(
    run: Run,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder to write; an older export is replaced.", parser=typed, metavar="PATH"
        ),
    ],
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Best items of each user to write.")] = 100,
    results: Results = DEFAULT_RESULTS,
    spec_folder: SpecFolder = None,
    progress_: ProgressMode = None,
    remote_code: RemoteCode = False,
) -> None:
    """Write item vectors, user states and best items of a finished run, for use in another system."""
    progress.show(progress_)
    from llmemb_bench.runs.find import find_run

    folder = find_run(run, results)
    with begin(remote_code, None):
        from llmemb_bench.serving import export as serving
        from llmemb_bench.serving.load import load_run

        serving.refuse_occupied(output)
        written = serving.export(load_run(folder, results, spec_folder), output, top)
        size = f"{written.users:,} users x {min(top, written.items):,} best of {written.items:,} items"
        if written.dim is None:
            say(f"{size} in {output}; this method has no vectors, so there are lists only")
        else:
            say(f"{size}, and {written.dim:,} dimensions of both in {output}; how to use: {output}/manifest.json")
