"""`embed` and `neighbours`: stage 1 for its own sake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from llmemb_bench.base import progress
from llmemb_bench.base.terminal import as_json, say, tables
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


def embed(
    spec: Annotated[
        Path,
        typer.Argument(help="A YAML spec; only its dataset and embeddings are read.", parser=typed, metavar="SPEC"),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Parquet file to write: item, text, vector.", parser=typed, metavar="PATH"),
    ],
    untuned: Annotated[
        bool, typer.Option(help="After SCFT, write the vectors of the encoder before it too (for `neighbours`).")
    ] = True,
    adapter: Annotated[
        Path | None, typer.Option(help="Folder to copy the tuned weights to.", parser=typed, metavar="PATH")
    ] = None,
    results: Results = DEFAULT_RESULTS,
    set_: Sets = None,
    progress_: ProgressMode = None,
    remote_code: RemoteCode = False,
    accelerate_config: AccelerateConfig = None,
) -> None:
    """Make item vectors and nothing else: stage 1 of a spec, for use in another system."""
    progress.show(progress_)
    from llmemb_bench.spec.cells import text_spec
    from llmemb_bench.text.files import refuse_unwritable

    part = text_spec(spec, set_ or [])
    refuse_unwritable(output)
    with begin(remote_code, accelerate_config):
        from llmemb_bench.running.embed import embed as write
        from llmemb_bench.stages.cache import Cache

        shape = write(part, Cache(results / ".cache"), output, untuned=untuned, adapter=adapter)
        if shape is not None:
            say(f"{shape[0]:,} items x {shape[1]:,} dimensions in {output}; see: llmemb-bench neighbours {output} ITEM")


def neighbours(
    vectors: Annotated[Path, typer.Argument(help="A file that `embed` wrote.", parser=typed, metavar="VECTORS")],
    items: Annotated[list[str], typer.Argument(help="Item ids, or words of one item's text.", metavar="ITEM...")],
    top: Annotated[int, typer.Option(min=1, help="Neighbours to show.")] = 5,
    format_: Annotated[Literal["rich", "json"], typer.Option("--format", help="Tables, or one JSON list.")] = "rich",
) -> None:
    """Show the nearest items of an item with their texts, before and after SCFT."""
    from llmemb_bench.text import neighbours as near

    found = near.neighbourhoods(vectors, items, top)
    if format_ == "json":
        typer.echo(as_json(near.as_json(found)))
    else:
        near.print_neighbourhoods(found, tables())
