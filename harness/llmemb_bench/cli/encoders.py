"""`encoders compare`: what vectors are worth before any recommender is trained."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmemb_bench.base import progress
from llmemb_bench.base.terminal import as_json, say, table, tables
from llmemb_bench.cli.options import (
    DEFAULT_RESULTS,
    AccelerateConfig,
    ProgressMode,
    RemoteCode,
    Results,
    Sets,
    begin,
)
from llmemb_bench.registry.config import typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmemb_bench.running.compare import Asked, Compared

SHORT = {"title_": "title ", "recall": "R", "cooccurrence_ndcg": "co-occ N", "effective_": "eff. ", "mean_": ""}
"""How figures are called at the head of a column."""
FORMATS = {"dim": "d", "effective_dim": ".1f"}
"""How figures are printed that are no shares."""

encoders = typer.Typer(
    help="Encoders beside each other, before any recommender is trained.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@encoders.callback()
def encoders_top() -> None:
    """Encoders beside each other, before any recommender is trained."""


@encoders.command()
def compare(
    spec: Annotated[
        Path,
        typer.Argument(
            help="A YAML spec; its dataset, split and embeddings are read, and what its matrix varies of them.",
            parser=typed,
            metavar="SPEC",
        ),
    ],
    augmentation: Annotated[
        list[str] | None,
        typer.Option(help="What the views are that must find their items; repeatable.", show_default="drop_attributes"),
    ] = None,
    items: Annotated[int, typer.Option(min=2, help="Items whose views and neighbours are looked at.")] = 1000,
    format_: Annotated[
        Literal["rich", "json", "csv"], typer.Option("--format", help="A table, one JSON object, or CSV.")
    ] = "rich",
    results: Results = DEFAULT_RESULTS,
    set_: Sets = None,
    progress_: ProgressMode = None,
    remote_code: RemoteCode = False,
    accelerate_config: AccelerateConfig = None,
) -> None:
    """Print what each encoder, pooling, prompt and tuning of a spec finds; nothing is written but their vectors."""
    progress.show(progress_)
    from llmemb_bench.contracts import Augmentation
    from llmemb_bench.registry.build import build
    from llmemb_bench.registry.kinds import AugmentationChoice
    from llmemb_bench.spec.cells import text_cells

    cells = text_cells(spec, set_ or [])
    drawing = [AugmentationChoice(name) for name in augmentation or ["drop_attributes"]]
    for choice in drawing:
        build(Augmentation, choice)  # a name that no plugin has is said now
    with begin(remote_code, accelerate_config):
        from llmemb_bench.running.compare import compare as work
        from llmemb_bench.stages.cache import Cache

        found = work(cells, Cache(results / ".cache"), drawing, items)
        if found is not None:
            _print(*found, format_, " + ".join(choice.use for choice in drawing))


def _print(asked: Asked, compared: Sequence[Compared], format_: str, views: str) -> None:
    match format_:
        case "json":
            rows = [{"encoder": one.label, **one.figures} for one in compared]
            typer.echo(as_json({"asked": {"views": views, **asked.facts()}, "rows": rows}))
        case "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(["encoder", *compared[0].figures])
            writer.writerows([one.label, *one.figures.values()] for one in compared)
        case _:
            _print_table(asked, compared, views)


def _print_table(asked: Asked, compared: Sequence[Compared], views: str) -> None:
    names = [_heading(name) for name in compared[0].figures]
    printed = table("encoder", *names, right=names)
    for one in compared:
        printed.add_row(one.label, *(_written(name, value) for name, value in one.figures.items()))
    tables().print(printed)
    facts = asked.facts()
    which = "of all, and tuning saw them" if asked.was_tuned_on else "which no tuning saw"
    say(f"recall: a view ({views}) of {facts['queries']:,} items, {which}, finds its own among all {facts['items']:,}")
    say(f"title recall: the first attribute of {facts['titles']:,} of them finds the other attributes among theirs")
    say(
        f"uniformity and effective dim: of {facts['paired']:,} items; cooccurrence: nearest by text of "
        f"{facts['neighbours']:,} items against those that the same users had in training"
    )


def _heading(name: str) -> str:
    for long, short in SHORT.items():
        name = name.replace(long, short)
    return name


def _written(name: str, value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:{FORMATS.get(name, '.4f')}}"
